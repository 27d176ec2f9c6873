"""API keys: make, list, revoke."""

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
from authsvc.server.api_keys import (
    SCOPES,
    api_key_state,
    create_api_key,
    list_api_keys,
    revoke_api_key,
)
from authsvc.server.models import ApiKey

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/api-keys", tags=["admin"])

_JSON = "application/json"
_Admin = Annotated[Administrator, scope("admin")]


class NewApiKey(BaseModel):
    """The body of ``POST /v1/admin/api-keys``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=PLAIN,
            description="What it is for.",
        ),
    ]
    scopes: Annotated[
        list[str], Field(min_length=1, json_schema_extra={"items": {"enum": list(SCOPES)}})
    ]
    expires_at: Annotated[Moment | None, Field(description="RFC 3339; never if not given.")] = None


class ApiKeyItem(BaseModel):
    """An API key in a list; its text is not shown again."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    state: Literal["active", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ApiKeyMade(ApiKeyItem):
    """An API key that was just made; ``key`` is its text, shown this once."""

    key: str | None


class ApiKeyPage(BaseModel):
    """A page of API keys."""

    items: list[ApiKeyItem]
    next_cursor: str | None


def _json(key: ApiKey, now: float) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "state": api_key_state(key, now),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at),
        "last_used_at": rfc3339(key.last_used_at),
        "revoked_at": rfc3339(key.revoked_at),
    }


def _scopes(wanted: list[str], admin: Administrator) -> list[str]:
    """The scopes in their usual order, if the administrator may give them."""
    if unknown := [each for each in wanted if each not in SCOPES]:
        raise InvalidInput(f"there is no scope {unknown[0]!r}; there is {', '.join(SCOPES)}")
    if lacking := [each for each in wanted if not admin.may(each)]:
        raise ScopeMissing(f"this API key lacks the scope {lacking[0]}, and so can't give it")
    return [each for each in SCOPES if each in wanted]


@router.post(
    "",
    status_code=201,
    **posts("admin", NewApiKey, answer={201: {"model": ApiKeyMade}}),
)
async def create(request: Request, service: RunningDep, admin: _Admin) -> Response:
    """Make an API key; the answer is the only place that ever shows its text."""
    body = await read_body(request, NewApiKey)
    now = time.time()
    expires_at = int(body.expires_at.timestamp()) if body.expires_at else None
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires_at is over already")
    scopes = _scopes(body.scopes, admin)
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            text, key = await create_api_key(
                once.session,
                body.name,
                scopes,
                expires_at=expires_at,
                context=admin.context,
                now=now,
            )
            once.answer(201, {**_json(key, now), "key": text}, secrets=("key",))
    return once.response()


@router.get("", **needs("admin", 422, answer={200: {"model": ApiKeyPage}}))
async def index(
    service: RunningDep,
    _admin: _Admin,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^key_[0-9a-v]{26}$")] = None,
) -> Response:
    """All API keys, newest first."""
    async with service.database.reading() as session:
        found = await list_api_keys(session, limit=limit + 1, after=cursor)
    now = time.time()
    page = {
        "items": [_json(key, now) for key in found[:limit]],
        "next_cursor": found[limit - 1].id if len(found) > limit else None,
    }
    return Response(jose.dumps(page), media_type=_JSON)


@router.delete("/{key_id}", **needs("admin", 404, 409, answer={200: {"model": ApiKeyItem}}))
async def delete(key_id: str, service: RunningDep, admin: _Admin) -> Response:
    """Revoke an API key; it stays in the list."""
    now = time.time()
    async with service.database.writing() as session:
        key = await revoke_api_key(session, key_id, context=admin.context, now=now)
        answer = _json(key, now)
    return Response(jose.dumps(answer), media_type=_JSON)


@router.post("/{key_id}/revoke", **posts("admin", None, 404, answer={200: {"model": ApiKeyItem}}))
async def revoke(key_id: str, request: Request, service: RunningDep, admin: _Admin) -> Response:
    """The same as deleting it."""
    now = time.time()
    async with idempotent(request, admin, service) as once:
        if once.first:
            key = await revoke_api_key(once.session, key_id, context=admin.context, now=now)
            once.answer(200, _json(key, now))
    return once.response()
