"""Grants: what administrators allow in addition."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import ScopeMissing
from authsvc.server.api.admin.deps import Administrator, find_user, needs, scope
from authsvc.server.api.admin.idempotent import idempotent, posts
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import PLAIN, Propagation, propagation_json, rfc3339
from authsvc.server.grants import (
    NewGrant,
    create_grant,
    delete_grant,
    get_grant,
    list_grants,
)
from authsvc.server.models import Grant
from authsvc.server.sessions.scoped import find_scoped
from authsvc.server.sessions.sizes import Caps

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/grants", tags=["admin"])

_JSON = "application/json"
_Reader = Annotated[Administrator, scope("users:read")]
_Writer = Annotated[Administrator, scope("users:write")]
_Subjects = Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=100)]


class GrantRequest(BaseModel):
    """The body of ``POST /v1/admin/grants``: for a user or for a role."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[
        str | None, Field(max_length=1000, description="The user who gets it, by name or id.")
    ] = None
    role: Annotated[
        str | None,
        Field(
            min_length=1, max_length=64, pattern=PLAIN, description="The role whose members get it."
        ),
    ] = None
    publish: _Subjects = []
    subscribe: _Subjects = []
    note: Annotated[str, Field(max_length=500, pattern=PLAIN)] = ""
    dangerous: Annotated[
        bool,
        Field(description="It may reach into what belongs to others; needs the scope admin."),
    ] = False


class GrantItem(BaseModel):
    """A grant."""

    id: str
    user_id: str | None
    username: str | None
    role: str | None
    publish: list[str]
    subscribe: list[str]
    dangerous: bool
    note: str
    created_by: str
    created_at: datetime


class GrantPage(BaseModel):
    """A page of grants."""

    items: list[GrantItem]
    next_cursor: str | None


class GrantMade(GrantItem):
    """A grant that was just made; ``propagation`` only for a scoped role."""

    propagation: Propagation | None = None


class GrantTaken(GrantItem):
    """A grant that was just taken away, and how many live nkeys were cut for it."""

    cut: int
    propagation: Propagation


def _json(grant: Grant, username: str | None) -> dict[str, Any]:
    return {
        "id": grant.id,
        "user_id": grant.user_id,
        "username": username,
        "role": grant.role,
        "publish": grant.publish,
        "subscribe": grant.subscribe,
        "dangerous": grant.dangerous,
        "note": grant.note,
        "created_by": grant.created_by,
        "created_at": rfc3339(grant.created_at),
    }


@router.post(
    "",
    status_code=201,
    **posts("users:write", GrantRequest, 404, answer={201: {"model": GrantMade}}),
)
async def create(request: Request, service: RunningDep, admin: _Writer) -> Response:
    """Allow something in addition, from each affected user's next JWT on.

    For a scoped role it reaches its members at once, and the answer says how far it has come.
    """
    body = await read_body(request, GrantRequest)
    if body.dangerous and not admin.may("admin"):
        raise ScopeMissing("a dangerous grant needs an API key with the scope admin")
    caps = Caps(service.settings.user_max_subscriptions, service.settings.max_payload)
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            user = None
            if body.username is not None:
                user = await find_user(once.session, body.username)
            new = NewGrant(
                user=user,
                role=body.role,
                publish=body.publish,
                subscribe=body.subscribe,
                note=body.note,
                dangerous=body.dangerous,
            )
            grant = await create_grant(
                once.session, new, caps=caps, context=admin.context, now=time.time()
            )
            once.answer(201, _json(grant, user.username if user else None))
    if body.role is None or not await _is_scoped(service, body.role):
        return once.response()
    propagation = await service.reconciler.propagate(service.material.people_id)
    return once.response(propagation=propagation_json(propagation))


async def _is_scoped(service: RunningDep, role: str) -> bool:
    async with service.database.reading() as session:
        return await find_scoped(session, role) is not None


@router.get("", **needs("users:read", 404, 422, answer={200: {"model": GrantPage}}))
async def index(
    service: RunningDep,
    _admin: _Reader,
    user: Annotated[str | None, Query(description="Only this user's own, by name or id.")] = None,
    role: Annotated[str | None, Query(max_length=64, pattern=PLAIN)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^grt_[0-9a-v]{26}$")] = None,
) -> Response:
    """Grants, newest first."""
    async with service.database.reading() as session:
        user_id = None if user is None else (await find_user(session, user)).id
        found = await list_grants(
            session, user_id=user_id, role=role, limit=limit + 1, after=cursor
        )
    page = {
        "items": [_json(grant, username) for grant, username in found[:limit]],
        "next_cursor": found[limit - 1][0].id if len(found) > limit else None,
    }
    return Response(jose.dumps(page), media_type=_JSON)


@router.get("/{grant_id}", **needs("users:read", 404, answer={200: {"model": GrantItem}}))
async def one(grant_id: str, service: RunningDep, _admin: _Reader) -> Response:
    """One grant."""
    async with service.database.reading() as session:
        grant, username = await get_grant(session, grant_id)
    return Response(jose.dumps(_json(grant, username)), media_type=_JSON)


@router.delete("/{grant_id}", **needs("users:write", 404, answer={200: {"model": GrantTaken}}))
async def delete(grant_id: str, service: RunningDep, admin: _Writer) -> Response:
    """Take a grant away: JWTs that may carry it end, their nkeys may renew at once."""
    account_id = service.material.people_id
    async with service.database.writing() as session:
        taken = await delete_grant(
            session, grant_id, account_id=account_id, context=admin.context, now=time.time()
        )
    propagation = await service.reconciler.propagate(account_id)
    answer = {
        **_json(taken.grant, taken.username),
        "cut": taken.cut,
        "propagation": propagation_json(propagation),
    }
    return Response(jose.dumps(answer), media_type=_JSON)
