"""Users: create, list, change, disable, delete."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import AuthsvcError, UserExists
from authsvc.server import directory
from authsvc.server.api.admin.deps import (
    Administrator,
    UserPath,
    find_user,
    needs,
    read_username,
    scope,
)
from authsvc.server.api.admin.idempotent import idempotent, posts
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
from authsvc.server.api.schemas import PLAIN, propagation_json
from authsvc.server.models import User
from authsvc.server.running import Running
from authsvc.server.sessions.sizes import Caps
from authsvc.server.sessions.supersede import hold_permissions

__all__ = ["router"]

router = APIRouter(tags=["admin"])

_JSON = "application/json"
# Ids and names hold none of these; PostgreSQL takes no NUL.

Reader = Annotated[Administrator, scope("users:read")]
Writer = Annotated[Administrator, scope("users:write")]
IfMatch = Annotated[
    str | None,
    Header(description="The ETag of the version that was read; 412 if there is a newer one."),
]


def _edit(admin: Administrator, service: Running, if_match: str | None) -> directory.Edit:
    """A change by this request; ``If-Match`` is compared as RFC 9110, section 13.1.1, says."""
    seen = {tag.strip() for tag in ("*" if if_match is None else if_match).split(",")}
    return directory.Edit(
        account_id=service.material.people_id,
        context=admin.context,
        now=time.time(),
        fits=lambda version: "*" in seen or _etag(version) in seen,
    )


def _etag(version: int) -> str:
    return f'"{version}"'


def _tagged(response: Response) -> Response:
    """A user's answer with the version that it tells as its ETag."""
    response.headers["ETag"] = _etag(jose.loads(bytes(response.body))["version"])
    return response


def _caps(service: Running) -> Caps:
    return Caps(service.settings.user_max_subscriptions, service.settings.max_payload)


async def _propagated(service: Running) -> dict[str, Any]:
    return propagation_json(await service.reconciler.propagate(service.material.people_id))


@router.get("/v1/admin/users", **needs("users:read", 422, answer={200: {"model": UserPage}}))
async def list_users(  # noqa: PLR0917 - they are query parameters
    _admin: Reader,
    service: RunningDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    search: Annotated[str | None, Query(max_length=254, pattern=PLAIN)] = None,
    role: Annotated[str | None, Query(max_length=64, pattern=PLAIN)] = None,
    state: Literal["active", "disabled"] | None = None,
) -> Response:
    """Users by name; those whose names begin with ``search``, or else contain it."""
    async with service.database.reading() as session:
        found = await directory.list_users(
            session,
            limit=limit + 1,
            after=read_username(cursor) if cursor else None,
            search=search.strip(" ").lower() if search else None,
            role=role,
            state=state,
        )
    items = [user_json(user) for user in found[:limit]]
    more = jose.b64encode(found[limit - 1].username.encode()) if len(found) > limit else None
    return Response(jose.dumps({"items": items, "next_cursor": more}), media_type=_JSON)


@router.post(
    "/v1/admin/users",
    status_code=201,
    **posts("users:write", UserRequest, 413, answer={201: {"model": UserAnswer}}),
)
async def create_user(admin: Writer, service: RunningDep, request: Request) -> Response:
    """Create a user; logging in does the same unless AUTO_CREATE_USERS is off."""
    body = await read_body(request, UserRequest)
    new = body.new_user()
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            (outcome,) = await directory.create_users(
                once.session, [new], caps=_caps(service), context=admin.context, now=time.time()
            )
            if isinstance(outcome, AuthsvcError):
                raise outcome
            if not outcome.created:
                raise UserExists(f"there is a user {new.username} already")
            user = await once.session.get_one(User, outcome.id)
            once.answer(201, user_json(user, directory.Counts(0, 0, 0, 0)))
    return _tagged(once.response())


@router.get(
    "/v1/admin/users/{username}",
    **needs("users:read", 404, answer={200: {"model": UserAnswer}}),
)
async def read_user(_admin: Reader, service: RunningDep, username: UserPath) -> Response:
    """A user; the ETag is the version."""
    async with service.database.reading() as session:
        user = await find_user(session, username)
        counts = await directory.count_belongings(session, user.id, time.time())
    return _tagged(Response(jose.dumps(user_json(user, counts)), media_type=_JSON))


@router.patch(
    "/v1/admin/users/{username}",
    **needs("users:write", 404, 412, 413, 422, body=UserPatch, answer={200: {"model": UserChange}}),
)
async def patch_user(
    admin: Writer,
    service: RunningDep,
    username: UserPath,
    request: Request,
    if_match: IfMatch = None,
) -> Response:
    """Give a user other roles or limits; what is taken away ends the JWTs that still say it."""
    changes = (await read_body(request, UserPatch)).changes()
    async with service.database.writing() as session:
        if "roles" in changes:
            await hold_permissions(session)
        user = await find_user(session, username, lock=True)
        edit = _edit(admin, service, if_match)
        await directory.update_user(session, user, changes, edit, _caps(service))
    answer = {**user_json(user), "propagation": await _propagated(service)}
    return _tagged(Response(jose.dumps(answer), media_type=_JSON))


_SWITCH = posts("users:write", None, 404, 412, answer={200: {"model": UserChange}})


@router.post("/v1/admin/users/{username}/disable", **_SWITCH)
async def disable_user(
    admin: Writer,
    service: RunningDep,
    username: UserPath,
    request: Request,
    if_match: IfMatch = None,
) -> Response:
    """Keep a user out: every connection ends, and no login or renewal succeeds."""
    return await _switch(admin, service, username, request, if_match, disabled=True)


@router.post("/v1/admin/users/{username}/enable", **_SWITCH)
async def enable_user(
    admin: Writer,
    service: RunningDep,
    username: UserPath,
    request: Request,
    if_match: IfMatch = None,
) -> Response:
    """Let a disabled user in again, with the same nkeys."""
    return await _switch(admin, service, username, request, if_match, disabled=False)


async def _switch(
    admin: Administrator,
    service: Running,
    username: str,
    request: Request,
    if_match: str | None,
    *,
    disabled: bool,
) -> Response:
    async with idempotent(request, admin, service) as once:
        if once.first:
            user = await find_user(once.session, username, lock=True)
            edit = _edit(admin, service, if_match)
            await directory.set_disabled(once.session, user, edit, disabled=disabled)
            once.answer(200, user_json(user))
    return _tagged(once.response(propagation=await _propagated(service)))


@router.delete(
    "/v1/admin/users/{username}",
    **needs("users:write", 404, 412, answer={200: {"model": UserDeleted}}),
)
async def delete_user(
    admin: Writer, service: RunningDep, username: UserPath, if_match: IfMatch = None
) -> Response:
    """Delete a user with credentials, grants and apps; the nkeys are dead for ever."""
    async with service.database.writing() as session:
        found = await find_user(session, username)
        user = await directory.delete_user(session, found.id, _edit(admin, service, if_match))
    propagation = await _propagated(service)
    await service.mail.settle(user.token)  # the streams go with the user
    answer = {"id": user.id, "username": user.username, "propagation": propagation}
    return Response(jose.dumps(answer), media_type=_JSON)
