"""Users: create, list, change, disable, delete."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import AuthsvcError, InvalidInput, UserExists
from authsvc.server import directory
from authsvc.server.api.admin.answers import JSON, described, propagated
from authsvc.server.api.admin.deps import Administrator, UserPath, find_user, scope
from authsvc.server.api.admin.schemas import (
    UserAnswer,
    UserChange,
    UserDeleted,
    UserPage,
    UserPatch,
    UserRequest,
    user_json,
)
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.models import User
from authsvc.server.running import Running

__all__ = ["router"]

router = APIRouter(tags=["admin"])

# Ids and names hold none of these; PostgreSQL takes no NUL.
_PLAIN = r"^[^\x00-\x1f\x7f]*$"

Reader = Annotated[Administrator, scope("users:read")]
Writer = Annotated[Administrator, scope("users:write")]
IfMatch = Annotated[
    str | None,
    Header(description="The ETag of the version that was read; 412 if there is a newer one."),
]


def _edit(admin: Administrator, service: Running, if_match: str | None) -> directory.Edit:
    """A change by this request; ``If-Match`` is compared as RFC 9110, section 13.1.1, says."""
    seen = {tag.strip() for tag in (if_match or "*").split(",")}
    return directory.Edit(
        account_id=service.material.people_id,
        context=admin.context,
        now=time.time(),
        fits=lambda version: "*" in seen or _etag(version) in seen,
    )


def _etag(version: int) -> str:
    return f'"{version}"'


def _answer(user: User, found: dict[str, Any], status: int = 200) -> Response:
    headers = {"ETag": _etag(user.version)}
    return Response(jose.dumps(found), status, headers, media_type=JSON)


@router.get("/v1/admin/users", **described("users:read", UserPage, 422))
async def list_users(  # noqa: PLR0917 - they are query parameters
    _admin: Reader,
    service: RunningDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    search: Annotated[str | None, Query(max_length=254, pattern=_PLAIN)] = None,
    role: Annotated[str | None, Query(max_length=64, pattern=_PLAIN)] = None,
    state: Literal["active", "disabled"] | None = None,
) -> Response:
    """Users by name; those whose names begin with ``search``, or else contain it."""
    async with service.database.reading() as session:
        found = await directory.list_users(
            session,
            limit=limit + 1,
            after=_read_cursor(cursor) if cursor else None,
            search=search.strip(" ").lower() if search else None,
            role=role,
            state=state,
        )
    items = [user_json(user) for user in found[:limit]]
    more = jose.b64encode(found[limit - 1].username.encode()) if len(found) > limit else None
    return Response(jose.dumps({"items": items, "next_cursor": more}), media_type=JSON)


def _read_cursor(cursor: str) -> str:
    """The last name that was seen."""
    try:
        name = jose.b64decode(cursor).decode()
    except (InvalidInput, UnicodeDecodeError):
        name = ""
    if not name.isprintable() or not name:
        raise InvalidInput("cursor: take it from next_cursor as it is")
    return name


@router.post(
    "/v1/admin/users",
    **described("users:write", UserAnswer, 409, 413, 422, status=201, body=UserRequest),
)
async def create_user(admin: Writer, service: RunningDep, request: Request) -> Response:
    """Create a user; logging in does the same unless AUTO_CREATE_USERS is off."""
    body = await read_body(request, UserRequest)
    new = body.new_user()
    now = time.time()
    async with service.database.writing() as session:
        keys = await service.signing.read(session)
        outcomes = await directory.create_users(
            session, keys.issuer, [new], context=admin.context, now=now
        )
        outcome = outcomes[0]
        if isinstance(outcome, AuthsvcError):
            raise outcome
        if not outcome.created:
            raise UserExists(f"there is a user {new.username} already")
        user = await session.get_one(User, outcome.id)
        found = user_json(user, directory.Counts(0, 0, 0, 0))
    return _answer(user, found, 201)


@router.get("/v1/admin/users/{username}", **described("users:read", UserAnswer, 404))
async def read_user(_admin: Reader, service: RunningDep, username: UserPath) -> Response:
    """A user; the ETag is the version."""
    async with service.database.reading() as session:
        user = await find_user(session, username)
        counts = await directory.count_belongings(session, user.id, time.time())
    return _answer(user, user_json(user, counts))


@router.patch(
    "/v1/admin/users/{username}",
    **described("users:write", UserChange, 404, 412, 413, 422, body=UserPatch),
)
async def patch_user(
    admin: Writer,
    service: RunningDep,
    username: UserPath,
    request: Request,
    if_match: IfMatch = None,
) -> Response:
    """Give a user other roles or limits; what is taken away ends the JWTs that still say it."""
    body = await read_body(request, UserPatch)
    settings = service.settings
    defaults = directory.Defaults(settings.user_max_subscriptions, settings.max_payload)
    async with service.database.writing() as session:
        user = await find_user(session, username, lock=True)
        keys = await service.signing.read(session)
        await directory.update_user(
            session,
            user,
            body.changes(),
            _edit(admin, service, if_match),
            issuer=keys.issuer,
            defaults=defaults,
        )
    return _answer(user, {**user_json(user), "propagation": await propagated(service)})


@router.post("/v1/admin/users/{username}/disable", **described("users:write", UserChange, 404, 412))
async def disable_user(
    admin: Writer, service: RunningDep, username: UserPath, if_match: IfMatch = None
) -> Response:
    """Keep a user out: every connection ends, and no login or renewal succeeds."""
    async with service.database.writing() as session:
        user = await _set_disabled(
            session, username, _edit(admin, service, if_match), disabled=True
        )
    return _answer(user, {**user_json(user), "propagation": await propagated(service)})


@router.post("/v1/admin/users/{username}/enable", **described("users:write", UserChange, 404, 412))
async def enable_user(
    admin: Writer, service: RunningDep, username: UserPath, if_match: IfMatch = None
) -> Response:
    """Let a disabled user in again, with the same nkeys."""
    async with service.database.writing() as session:
        user = await _set_disabled(
            session, username, _edit(admin, service, if_match), disabled=False
        )
    return _answer(user, {**user_json(user), "propagation": await propagated(service)})


async def _set_disabled(
    session: AsyncSession, username: str, edit: directory.Edit, *, disabled: bool
) -> User:
    user = await find_user(session, username, lock=True)
    await directory.set_disabled(session, user, edit, disabled=disabled)
    return user


@router.delete("/v1/admin/users/{username}", **described("users:write", UserDeleted, 404, 412))
async def delete_user(
    admin: Writer, service: RunningDep, username: UserPath, if_match: IfMatch = None
) -> Response:
    """Delete a user with credentials, grants and apps; the nkeys are dead for ever."""
    async with service.database.writing() as session:
        found = await find_user(session, username)
        user = await directory.delete_user(session, found.id, _edit(admin, service, if_match))
    answer: dict[str, Any] = {"id": user.id, "username": user.username}
    answer["propagation"] = await propagated(service)
    return Response(jose.dumps(answer), media_type=JSON)
