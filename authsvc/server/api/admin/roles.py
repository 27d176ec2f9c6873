"""Roles: list them, give one a signing key of its own, take that away."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput
from authsvc.server import roles
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import PLAIN, Propagation, propagation_json
from authsvc.server.sessions.sizes import Caps

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/roles", tags=["admin"])

_JSON = "application/json"
_Reader = Annotated[Administrator, scope("users:read")]
_Writer = Annotated[Administrator, scope("users:write")]
_Name = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        pattern=PLAIN,
        description="As users and grants have it.",
    ),
]


class RoleRequest(BaseModel):
    """The body of ``PUT /v1/admin/roles/{name}``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scoped: Annotated[
        Literal[True], Field(description="Give the role a signing key; DELETE takes it away.")
    ]


class RoleItem(BaseModel):
    """A role; its public key is null where it is not scoped."""

    name: str
    members: int
    grants: int
    scoped: bool
    state: Literal["prepared", "active"] | None
    public_key: str | None


class RolePage(BaseModel):
    """A page of roles."""

    items: list[RoleItem]
    next_cursor: str | None


class RoleAnswer(RoleItem):
    """A role that was just changed."""

    propagation: Propagation


class RoleUnscoped(RoleAnswer):
    """A role without a key again, and how many live nkeys were cut for it."""

    cut: int


@router.get("", **needs("users:read", 422, answer={200: {"model": RolePage}}))
async def index(
    service: RunningDep,
    _admin: _Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
) -> Response:
    """All roles that a user or a grant has or that are scoped, by name."""
    after = _read_cursor(cursor) if cursor else None
    async with service.database.reading() as session:
        found = await roles.list_roles(session)
    page = [role for role in found if after is None or role.name > after]
    more = jose.b64encode(page[limit - 1].name.encode()) if len(page) > limit else None
    answer = {"items": [_json(role) for role in page[:limit]], "next_cursor": more}
    return Response(jose.dumps(answer), media_type=_JSON)


def _read_cursor(cursor: str) -> str:
    try:
        return jose.b64decode(cursor).decode()
    except (InvalidInput, UnicodeDecodeError):
        raise InvalidInput("cursor: take it from next_cursor as it is") from None


@router.put(
    "/{name}",
    **needs("users:write", 409, 413, 422, body=RoleRequest, answer={200: {"model": RoleAnswer}}),
)
async def put(name: _Name, request: Request, service: RunningDep, admin: _Writer) -> Response:
    """Make a role scoped: members' JWTs end, and the next ones are by the role's own key."""
    await read_body(request, RoleRequest)
    now, account_id = time.time(), service.material.people_id
    caps = Caps(service.settings.user_max_subscriptions, service.settings.max_payload)
    async with service.database.writing() as session:
        await roles.make_scoped(
            session,
            service.keystore,
            name,
            account_id=account_id,
            caps=caps,
            context=admin.context,
            now=now,
        )
    propagation = await roles.activate_where_known(
        service.database, service.reconciler, account_id, name, context=admin.context, now=now
    )
    answer = await _read(service, name) | {"propagation": propagation_json(propagation)}
    return Response(jose.dumps(answer), media_type=_JSON)


@router.delete("/{name}", **needs("users:write", 404, 422, answer={200: {"model": RoleUnscoped}}))
async def delete(name: _Name, service: RunningDep, admin: _Writer) -> Response:
    """Take a role's key away; users and grants keep the role, and members renew."""
    async with service.database.writing() as session:
        cut = await roles.unscope(session, name, context=admin.context, now=time.time())
    propagation = await service.reconciler.propagate(service.material.people_id)
    answer = await _read(service, name) | {
        "cut": cut,
        "propagation": propagation_json(propagation),
    }
    return Response(jose.dumps(answer), media_type=_JSON)


async def _read(service: RunningDep, name: str) -> dict[str, Any]:
    async with service.database.reading() as session:
        found = await roles.list_roles(session)
    return _json(next((role for role in found if role.name == name), roles.Listed(name)))


def _json(role: roles.Listed) -> dict[str, Any]:
    state = None
    if role.public_key is not None:
        state = "active" if role.active else "prepared"
    return {
        "name": role.name,
        "members": role.members,
        "grants": role.grants,
        "scoped": role.public_key is not None,
        "state": state,
        "public_key": role.public_key,
    }
