"""Requests and responses that wait, of everybody."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from authsvc import jose
from authsvc.server import directory
from authsvc.server.api.admin.deps import Administrator, find_user, needs, read_username, scope
from authsvc.server.api.deps import RunningDep
from authsvc.server.directory import MailboxRow
from authsvc.server.provision.mail_depths import Depth, Waiting, all_waiting

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/mailboxes", tags=["admin"])


class DepthItem(BaseModel):
    """What a stream holds now."""

    messages: int
    bytes: int
    oldest_at: str | None


class AppItem(BaseModel):
    """An app whose requests wait, and how many do; null while nats-server has no consumer."""

    name: str
    waiting: int | None


class MailboxItem(BaseModel):
    """A user's mailbox."""

    user_id: str
    username: str
    responses_kept: bool
    max_age: int
    max_pending: int
    max_bytes: int
    state: str
    requests: DepthItem | None
    responses: DepthItem | None
    apps: list[AppItem]
    dead_letters: int


class MailboxPage(BaseModel):
    """A page of mailboxes."""

    items: list[MailboxItem]
    next_cursor: str | None


@router.get("", **needs("users:read", 404, 422, answer={200: {"model": MailboxPage}}))
async def index(
    service: RunningDep,
    _admin: Annotated[Administrator, scope("users:read")],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    user: Annotated[str | None, Query(max_length=512, description="Name or id.")] = None,
) -> Response:
    """Mailboxes by username, and what waits in them now; asked of JetStream."""
    after = read_username(cursor) if cursor else None
    async with service.database.reading() as session:
        user_id = (await find_user(session, user)).id if user is not None else None
        found = await directory.list_mailboxes(
            session, limit=limit + 1, after=after, user_id=user_id
        )
    rows = found[:limit]
    waiting = await all_waiting(
        service.mail.streams, {row.user.token: [app.token for app in row.apps] for row in rows}
    )
    bound = service.settings.mailbox_max_bytes
    items = [_item(row, waiting[row.user.token], bound) for row in rows]
    more = jose.b64encode(rows[-1].user.username.encode()) if len(found) > limit else None
    return Response(
        jose.dumps({"items": items, "next_cursor": more}), media_type="application/json"
    )


def _item(row: MailboxRow, waiting: Waiting, max_bytes: int) -> dict[str, Any]:
    mailbox = row.mailbox
    return {
        "user_id": row.user.id,
        "username": row.user.username,
        "responses_kept": mailbox.responses,
        "max_age": mailbox.max_age,
        "max_pending": mailbox.max_pending,
        "max_bytes": max_bytes,
        "state": "applied" if mailbox.applied == mailbox.revision else "pending",
        "requests": _depth(waiting.requests),
        "responses": _depth(waiting.responses),
        "apps": [{"name": app.name, "waiting": waiting.apps.get(app.token)} for app in row.apps],
        "dead_letters": row.dead_letters,
    }


def _depth(found: Depth | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"messages": found.messages, "bytes": found.size, "oldest_at": found.oldest_at}
