"""Enrolment keys: make, list, revoke."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput, ScopeMissing
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.admin.idempotent import idempotent, posts
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import PLAIN, Moment, rfc3339
from authsvc.server.enrolment_keys import (
    NewEnrolmentKey,
    create_enrolment_key,
    enrolment_key_state,
    list_enrolment_keys,
    revoke_enrolment_key,
)
from authsvc.server.models import EnrolmentKey

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/enrolment-keys", tags=["admin"])

_JSON = "application/json"
# Lower case, because SQLite finds text in either.
_TAG = r"^[a-z0-9][a-z0-9._:/-]{0,62}$"
_LONGEST_SECONDS = 10 * 365 * 86400
_Reader = Annotated[Administrator, scope("users:read")]
_Writer = Annotated[Administrator, scope("users:write")]
_Name = Annotated[
    str | None,
    Field(min_length=1, max_length=512, description="The one user it is for, e-mail or service."),
]


class EnrolmentKeyRequest(BaseModel):
    """The body of ``POST /v1/admin/enrolment-keys``: for a username or for a pattern."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        Field(max_length=200, pattern=PLAIN, description="What it is for."),
    ] = ""
    username: _Name = None
    pattern: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=512,
            description="The users it is for; * stands for any text without @.",
        ),
    ] = None
    existing: Annotated[
        bool | None,
        Field(
            description="Also for users who did not come by it; needs the scope "
            "credentials:issue. If null: where username is given and the API key has that scope."
        ),
    ] = None
    tags: Annotated[list[Annotated[str, Field(pattern=_TAG)]], Field(max_length=16)] = []
    max_uses: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="How many nkeys may enrol; null: any number."),
    ] = 1
    expires_at: Annotated[Moment | None, Field(description="RFC 3339.")] = None
    expires_in: Annotated[
        int | None, Field(ge=1, le=_LONGEST_SECONDS, description="Seconds, instead of a moment.")
    ] = None


class EnrolmentKeyItem(BaseModel):
    """An enrolment key in a list; its text is not shown again."""

    id: str
    name: str
    prefix: str
    username: str | None
    pattern: str | None
    existing: bool
    tags: list[str]
    max_uses: int | None
    uses: int
    state: Literal["active", "used", "expired", "revoked"]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class EnrolmentKeyMade(EnrolmentKeyItem):
    """An enrolment key that was just made; ``key`` is its text, shown this once."""

    key: str | None


class EnrolmentKeyPage(BaseModel):
    """A page of enrolment keys."""

    items: list[EnrolmentKeyItem]
    next_cursor: str | None


def _json(key: EnrolmentKey, now: float) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "username": key.username,
        "pattern": key.pattern,
        "existing": key.existing,
        "tags": key.tags,
        "max_uses": key.max_uses,
        "uses": key.uses,
        "state": enrolment_key_state(key, now),
        "created_by": key.created_by,
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "last_used_at": rfc3339(key.last_used_at),
        "revoked_at": rfc3339(key.revoked_at),
    }


def _wanted(body: EnrolmentKeyRequest, admin: Administrator, now: float) -> NewEnrolmentKey:
    """What shall be made, if the administrator may."""
    expires_at = int(body.expires_at.timestamp()) if body.expires_at else None
    if body.expires_in is not None:
        if expires_at is not None:
            raise InvalidInput("expires_at or expires_in, not both", "body.expires_in")
        expires_at = int(now) + body.expires_in
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires_at is over already", "body.expires_at")
    issues = admin.may("credentials:issue")
    existing = body.existing
    if existing is None:
        existing = issues and body.username is not None
    new = NewEnrolmentKey.checked(
        name=body.name,
        username=body.username,
        pattern=body.pattern,
        existing=existing,
        tags=tuple(dict.fromkeys(body.tags)),
        max_uses=body.max_uses,
        expires_at=expires_at,
    )
    if new.reaches_people and not issues:
        raise ScopeMissing(
            "an enrolment key for a name with @, or for users who are there already, needs an API "
            "key with the scope credentials:issue: whoever has it is that user"
        )
    return new


@router.post(
    "",
    status_code=201,
    **posts("users:write", EnrolmentKeyRequest, answer={201: {"model": EnrolmentKeyMade}}),
)
async def create(request: Request, service: RunningDep, admin: _Writer) -> Response:
    """Make an enrolment key; the answer is the only place that ever shows its text."""
    body = await read_body(request, EnrolmentKeyRequest)
    now = time.time()
    new = _wanted(body, admin, now)
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            text, key = await create_enrolment_key(
                once.session, new, context=admin.context, now=now
            )
            once.answer(201, {**_json(key, now), "key": text}, secrets=("key",))
    return once.response()


@router.get("", **needs("users:read", 422, answer={200: {"model": EnrolmentKeyPage}}))
async def index(
    service: RunningDep,
    _admin: _Reader,
    tag: Annotated[str | None, Query(pattern=_TAG, description="Only keys that have it.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^enk_[0-9a-v]{26}$")] = None,
) -> Response:
    """Enrolment keys, newest first."""
    async with service.database.reading() as session:
        found = await list_enrolment_keys(session, limit=limit + 1, after=cursor, tag=tag)
    now = time.time()
    page = {
        "items": [_json(key, now) for key in found[:limit]],
        "next_cursor": found[limit - 1].id if len(found) > limit else None,
    }
    return Response(jose.dumps(page), media_type=_JSON)


@router.delete("/{key_id}", **needs("users:write", 404, answer={200: {"model": EnrolmentKeyItem}}))
async def delete(key_id: str, service: RunningDep, admin: _Writer) -> Response:
    """Revoke an enrolment key; it stays in the list."""
    now = time.time()
    async with service.database.writing() as session:
        key = await revoke_enrolment_key(session, key_id, context=admin.context, now=now)
        answer = _json(key, now)
    return Response(jose.dumps(answer), media_type=_JSON)


@router.post(
    "/{key_id}/revoke",
    **posts("users:write", None, 404, answer={200: {"model": EnrolmentKeyItem}}),
)
async def revoke(key_id: str, request: Request, service: RunningDep, admin: _Writer) -> Response:
    """The same as deleting it."""
    now = time.time()
    async with idempotent(request, admin, service) as once:
        if once.first:
            key = await revoke_enrolment_key(once.session, key_id, context=admin.context, now=now)
            once.answer(200, _json(key, now))
    return once.response()
