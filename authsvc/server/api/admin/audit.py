"""The audit: read it, export it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.responses import Response, StreamingResponse

from authsvc import jose
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.deps import RunningDep
from authsvc.server.api.schemas import PLAIN, Moment
from authsvc.server.audit import listing

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/audit", tags=["admin"])

_NDJSON = "application/x-ndjson"
_READ = "audit:read"

# PostgreSQL takes no NUL, and no id has control characters.
_Id = Annotated[str | None, Query(max_length=200, min_length=1, pattern=PLAIN)]
_Action = Annotated[
    str | None,
    Query(
        max_length=100,
        pattern=r"^[a-z][a-z0-9_.-]*$",
        description="One action, or with a dot at its end all that begin so: `credential.`",
    ),
]
_Moment = Annotated[
    Moment | None, Query(description="RFC 3339 with its offset; `since` is inclusive.")
]
Reader = Annotated[Administrator, scope(_READ)]


class Party(BaseModel):
    """Who did it, or what it was done to."""

    kind: str
    id: str


class AuditItem(BaseModel):
    """One deed."""

    id: str
    at: datetime
    actor: Party
    action: str
    target: Party
    request_id: str
    address: str
    details: dict[str, Any]


class AuditPage(BaseModel):
    """A page of the audit."""

    items: list[AuditItem]
    next_cursor: str | None


async def _filters(
    *,
    actor: _Id = None,
    action: _Action = None,
    target: _Id = None,
    request_id: _Id = None,
    since: _Moment = None,
    until: _Moment = None,
) -> listing.Filters:
    return listing.Filters(actor, action, target, request_id, since, until)


Wanted = Annotated[listing.Filters, Depends(_filters)]


def _described(statuses: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """What ``needs`` says, with the answer of 200."""
    return {**statuses, "responses": {200: answer, **statuses["responses"]}}


@router.get("", **_described(needs(_READ, 422), {"model": AuditPage}))
async def list_events(
    service: RunningDep,
    _reader: Reader,
    filters: Wanted,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")] = None,
) -> Response:
    """What was done, newest first."""
    before = int(cursor) if cursor else None
    async with service.database.reading() as session:
        rows = await listing.newest(session, filters, limit=limit + 1, before=before)
    more = str(rows[limit - 1].seq) if len(rows) > limit else None
    page = {"items": [listing.item(row) for row in rows[:limit]], "next_cursor": more}
    return Response(jose.dumps(page), media_type="application/json")


@router.get(
    "/export", **_described(needs(_READ, 422), {"content": {_NDJSON: {}}, "description": "NDJSON"})
)
async def export(service: RunningDep, _reader: Reader, filters: Wanted) -> StreamingResponse:
    """Everything that the filters let through, oldest first: an item a line."""
    pages = listing.export(service.database, filters)
    # The first page before the answer begins: a database that is away still becomes a 503.
    first: list[Any] = await anext(pages, [])
    headers = {"Content-Disposition": 'attachment; filename="audit.ndjson"'}
    return StreamingResponse(_lines(first, pages), media_type=_NDJSON, headers=headers)


async def _lines(first: list[Any], pages: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    yield _encoded(first)
    async for rows in pages:
        yield _encoded(rows)


def _encoded(rows: list[Any]) -> bytes:
    return b"".join([jose.dumps(listing.item(row)) + b"\n" for row in rows])
