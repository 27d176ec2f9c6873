"""``/v1/me/apps`` and what of it others see: the apps that users offer."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from authsvc import jose, subjects
from authsvc.errors import Forbidden, InvalidName
from authsvc.server import audit, mailboxes
from authsvc.server.api.admin.deps import UserPath, find_user
from authsvc.server.api.deps import CallerDep, RunningDep, address, read_body, refusals
from authsvc.server.api.mail_schemas import (
    AppChange,
    AppPage,
    AppRegistered,
    AppRequest,
    app_json,
    settled_json,
)
from authsvc.server.api.schemas import PROOF
from authsvc.server.running import Running
from authsvc.server.sessions import Caller

__all__ = ["AppPath", "canonical", "change_by", "ensure_may", "router"]

router = APIRouter(tags=["apps"])

_JSON = "application/json"
_OWN = {**PROOF, "security": [{"credential": []}]}
AppPath = Annotated[str, Path(description="The app's name.")]
AppCursor = Annotated[str | None, Query(pattern=r"^app_[0-9a-v]{26}$")]
Limit = Annotated[int, Query(ge=1, le=1000)]


def canonical(app: str) -> str:
    """The app's name in canonical form.

    Raises:
        InvalidName: It is none.
    """
    try:
        return subjects.app_name(app)
    except InvalidName as error:
        raise InvalidName(str(error), "path.app") from None


def ensure_may(caller: Caller, app: str | None) -> None:
    """Refuse a credential that is narrowed to another app.

    Args:
        caller: Who asks.
        app: What is to be changed; the whole mailbox if None.

    Raises:
        Forbidden: It is.
    """
    if caller.app not in {None, app}:
        raise Forbidden(f"this credential is narrowed to the app {caller.app}; use a whole one")


def change_by(service: Running, caller: Caller, request: Request) -> mailboxes.Change:
    """A change by who asks."""
    actor = audit.Actor("user", caller.user_id)
    return mailboxes.Change(
        user_id=caller.user_id,
        max_apps=service.settings.user_max_apps,
        max_mailboxes=service.settings.mailbox_max_count,
        context=audit.Context(actor, request.state.request_id, address(request)),
        now=time.time(),
    )


async def _page(service: Running, user_id: str, limit: int, cursor: str | None) -> Response:
    async with service.database.reading() as session:
        found = await mailboxes.list_apps(session, user_id, limit=limit + 1, after=cursor)
    more = found[limit - 1].id if len(found) > limit else None
    answer = {"items": [app_json(app) for app in found[:limit]], "next_cursor": more}
    return Response(jose.dumps(answer), media_type=_JSON)


@router.get(
    "/v1/me/apps",
    response_model=None,
    responses={200: {"model": AppPage}, **refusals(401, 403, 422, 503)},
    openapi_extra=_OWN,
)
async def own(
    service: RunningDep, caller: CallerDep, limit: Limit = 100, cursor: AppCursor = None
) -> Response:
    """Your apps, the oldest first."""
    return await _page(service, caller.user_id, limit, cursor)


@router.get(
    "/v1/users/{username}/apps",
    response_model=None,
    responses={200: {"model": AppPage}, **refusals(401, 403, 404, 422, 503)},
    openapi_extra=_OWN,
)
async def of_user(
    service: RunningDep,
    _caller: CallerDep,
    username: UserPath,
    limit: Limit = 100,
    cursor: AppCursor = None,
) -> Response:
    """The apps that a user offers."""
    async with service.database.reading() as session:
        user = await find_user(session, username)
    return await _page(service, user.id, limit, cursor)


_PUT_BODY = {
    "requestBody": {
        "required": False,
        "content": {_JSON: {"schema": AppRequest.model_json_schema()}},
    }
}


@router.put(
    "/v1/me/apps/{app}",
    response_model=None,
    responses={200: {"model": AppRegistered}, **refusals(401, 403, 404, 409, 413, 422, 503)},
    openapi_extra={**_OWN, **_PUT_BODY},
)
async def put(request: Request, service: RunningDep, caller: CallerDep, app: AppPath) -> Response:
    """Register an app, or change whether requests wait for it."""
    name = canonical(app)
    ensure_may(caller, name)
    body = await read_body(request, AppRequest)
    async with service.database.writing() as session:
        await service.proofs.spend(session, caller.proof)
        change = change_by(service, caller, request)
        found = await mailboxes.put_app(session, name, change, offline=body.offline)
        answer = app_json(found)
    settled = await service.mail.settle(caller.token)
    answer["unacknowledged"] = None
    if settled.state == "applied" and answer["offline"]:
        known = await service.mail.unacknowledged(caller.token, answer["token"])
        answer["unacknowledged"] = known
    return Response(jose.dumps({**answer, "propagation": settled_json(settled)}), media_type=_JSON)


@router.delete(
    "/v1/me/apps/{app}",
    response_model=None,
    responses={200: {"model": AppChange}, **refusals(401, 403, 404, 422, 503)},
    openapi_extra=_OWN,
)
async def delete(
    request: Request, service: RunningDep, caller: CallerDep, app: AppPath
) -> Response:
    """Forget an app, with the requests that wait for it."""
    name = canonical(app)
    ensure_may(caller, name)
    async with service.database.writing() as session:
        await service.proofs.spend(session, caller.proof)
        change = change_by(service, caller, request)
        answer = app_json(await mailboxes.delete_app(session, name, change))
    settled = await service.mail.settle(caller.token)
    return Response(jose.dumps({**answer, "propagation": settled_json(settled)}), media_type=_JSON)
