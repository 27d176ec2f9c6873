"""Who is connected to nats-server now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput, Unavailable
from authsvc.server import directory
from authsvc.server.api.admin.deps import Administrator, find_user, needs, scope
from authsvc.server.api.deps import RunningDep
from authsvc.server.directory import Owner
from authsvc.server.provision.connections import Connected, Listed
from authsvc.server.provision.service_users import HERALD_USER

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/connections", tags=["admin"])


class ServerName(BaseModel):
    """A nats-server."""

    id: str
    name: str


class Traffic(BaseModel):
    """Messages and their bytes since the connection began."""

    messages: int
    bytes: int


class ConnectionItem(BaseModel):
    """A connection of the people's account; whose it is, is null where that can't be told."""

    id: str
    user_id: str | None
    username: str | None
    credential_id: str | None
    credential_name: str | None
    public_key: str
    server: ServerName
    address: str
    kind: str
    client_name: str
    client: str
    connected_at: str
    active_at: str
    rtt_ms: float | None
    sent: Traffic
    received: Traffic
    subscriptions: int
    pending_bytes: int


class ConnectionPage(BaseModel):
    """A page of connections; those of silent servers are not in it."""

    items: list[ConnectionItem]
    next_cursor: str | None
    total: int
    users: int
    silent: list[ServerName]


@router.get("", **needs("users:read", 404, 422, answer={200: {"model": ConnectionPage}}))
async def index(
    service: RunningDep,
    _admin: Annotated[Administrator, scope("users:read")],
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    user: Annotated[str | None, Query(max_length=512, description="Name or id.")] = None,
    credential: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Who is connected now, the newest connection first; asked of every nats-server."""
    listed = await _ask(service)
    shown = [it for it in listed.connections if it.name != HERALD_USER]
    async with service.database.reading() as session:
        user_id = (await find_user(session, user)).id if user is not None else None
        owners = await directory.owners_of(
            session,
            (it.credential_id for it in shown if it.credential_id),
            (it.public_key for it in shown if not it.credential_id and it.public_key),
        )
    items = [_item(it, owners) for it in shown]
    if user_id is not None:
        items = [it for it in items if it["user_id"] == user_id]
    if credential is not None:
        items = [it for it in items if it["credential_id"] == credential]
    items.sort(key=_place, reverse=True)
    total, users = len(items), len({it["user_id"] for it in items if it["user_id"]})
    if cursor is not None:
        after = _read_cursor(cursor)
        items = [it for it in items if _place(it) < after]
    more = items[limit - 1] if len(items) > limit else None
    answer = {
        "items": items[:limit],
        "next_cursor": jose.b64encode("\n".join(_place(more)).encode()) if more else None,
        "total": total,
        "users": users,
        "silent": [{"id": it.id, "name": it.name} for it in listed.silent],
    }
    return Response(jose.dumps(answer), media_type="application/json")


async def _ask(service: RunningDep) -> Listed:
    resolver = service.reconciler.resolver
    if resolver is None or not resolver.connected:
        raise Unavailable("nats-server can't be reached, so it can't be asked who is connected")
    return await resolver.connections(service.material.people)


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    """Where it stands in the list: by its beginning, to the nanosecond."""
    return item["connected_at"], item["id"]


def _read_cursor(cursor: str) -> tuple[str, str]:
    try:
        started, _, key = jose.b64decode(cursor).decode().partition("\n")
    except (InvalidInput, UnicodeDecodeError):
        key = ""
    if not key:
        raise InvalidInput("cursor: take it from next_cursor as it is")
    return started, key


def _item(found: Connected, owners: Mapping[str, Owner]) -> dict[str, Any]:
    owner = owners.get(found.credential_id or found.public_key)
    credential = owner.credential if owner else None
    return {
        "id": f"{found.server.id}.{found.cid}",
        "user_id": credential.user_id if credential else None,
        "username": owner.username if owner else None,
        "credential_id": credential.id if credential else None,
        "credential_name": credential.name if credential else None,
        "public_key": found.public_key,
        "server": {"id": found.server.id, "name": found.server.name},
        "address": found.address,
        "kind": found.kind,
        "client_name": found.name,
        "client": found.language,
        "connected_at": found.started_at,
        "active_at": found.active_at,
        "rtt_ms": found.rtt_ms,
        "sent": {"messages": found.received[0], "bytes": found.received[1]},
        "received": {"messages": found.sent[0], "bytes": found.sent[1]},
        "subscriptions": found.subscriptions,
        "pending_bytes": found.pending_bytes,
    }
