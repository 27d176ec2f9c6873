"""Credentials of any user: issue, list, revoke."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from authsvc import jose, subjects
from authsvc.claims import format_creds
from authsvc.errors import InvalidKey
from authsvc.nkey import KeyPair, Prefix, PublicKey
from authsvc.server import directory, metrics
from authsvc.server.api.admin.deps import Administrator, UserPath, find_user, needs, scope
from authsvc.server.api.admin.idempotent import idempotent, posts
from authsvc.server.api.admin.schemas import (
    AssignmentAnswer,
    AssignmentRequest,
    RevokedAll,
    RevokedCredential,
    RevokeRequest,
)
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import (
    CredentialItem,
    CredentialPage,
    issued_json,
    item_json,
    propagation_json,
)
from authsvc.server.models import User
from authsvc.server.running import Running
from authsvc.server.sessions import Assignment, revoke_all, revoke_credential

__all__ = ["router"]

router = APIRouter(tags=["admin"])

_ASSIGNED = metrics.ISSUED.labels("admin", "")

Reader = Annotated[Administrator, scope("users:read")]
Issuer = Annotated[Administrator, scope("credentials:issue")]
Revoker = Annotated[Administrator, scope("credentials:revoke")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(pattern=r"^crd_[0-9a-v]{26}$")]
State = Annotated[Literal["active", "expired", "revoked"] | None, Query(description="Only those.")]


def _optional(described: dict[str, Any]) -> dict[str, Any]:
    """The same route, whose body may be left out."""
    described["openapi_extra"]["requestBody"]["required"] = False
    return described


async def _page(
    service: Running,
    limit: int,
    cursor: str | None,
    state: Literal["active", "expired", "revoked"] | None,
    user: str | None,
) -> Response:
    now = time.time()
    async with service.database.reading() as session:
        user_id = (await find_user(session, user)).id if user is not None else None
        found = await directory.list_all_credentials(
            session, limit=limit + 1, now=now, after=cursor, user_id=user_id, state=state
        )
    items = [item_json(credential, username, now) for credential, username in found[:limit]]
    more = found[limit - 1][0].id if len(found) > limit else None
    return Response(
        jose.dumps({"items": items, "next_cursor": more}), media_type="application/json"
    )


@router.get(
    "/v1/admin/credentials",
    **needs("users:read", 404, 422, answer={200: {"model": CredentialPage}}),
)
async def list_all(
    _admin: Reader,
    service: RunningDep,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: State = None,
    user: Annotated[str | None, Query(description="An id or canonical username.")] = None,
) -> Response:
    """Credentials of all users, newest first."""
    return await _page(service, limit, cursor, state, user)


@router.get(
    "/v1/admin/credentials/{credential_id}",
    **needs("users:read", 404, answer={200: {"model": CredentialItem}}),
)
async def one(_admin: Reader, service: RunningDep, credential_id: str) -> Response:
    """One credential."""
    async with service.database.reading() as session:
        credential, username = await directory.get_credential(session, credential_id)
    return Response(
        jose.dumps(item_json(credential, username, time.time())), media_type="application/json"
    )


@router.get(
    "/v1/admin/users/{username}/credentials",
    **needs("users:read", 404, 422, answer={200: {"model": CredentialPage}}),
)
async def list_of_user(
    _admin: Reader,
    service: RunningDep,
    username: UserPath,
    limit: Limit = 100,
    cursor: Cursor = None,
    state: State = None,
) -> Response:
    """A user's credentials, newest first."""
    return await _page(service, limit, cursor, state, username)


@router.post(
    "/v1/admin/users/{username}/credentials",
    status_code=201,
    **_optional(
        posts(
            "credentials:issue",
            AssignmentRequest,
            *(404, 413),
            answer={201: {"model": AssignmentAnswer}},
        )
    ),
)
async def issue(
    admin: Issuer, service: RunningDep, username: UserPath, request: Request
) -> Response:
    """Issue for a key of the user's; without one the service makes it and shows it this once."""
    body = await read_body(request, AssignmentRequest)
    made = None if body.public_key is not None else KeyPair.generate(Prefix.USER)
    key = made.public if made else _given(body.public_key or "")
    app = subjects.app_name(body.app) if body.app is not None else None
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            user = await find_user(once.session, username)
            order = Assignment(
                request_id=admin.context.request_id,
                address=admin.context.address,
                now=time.time(),
                actor=admin.context.actor,
                user_id=user.id,
                key=key,
                name=body.name,
                ttl=body.ttl,
                app=app,
            )
            issued = await service.desk.order_within(once.session, order)
            answer = jose.loads(issued_json(issued, service.servers, time.time()))
            if made is not None:
                answer |= {"seed": made.seed, "creds": format_creds(issued.jwt, made)}
            once.answer(201, answer, secrets=("seed", "creds"))
    if once.first:
        _ASSIGNED.inc()
    return once.response()


def _given(text: str) -> PublicKey:
    """The nkey of a request; nobody has proved that it is somebody's."""
    key = PublicKey.parse(text, Prefix.USER)
    if not key.is_sound():
        raise InvalidKey("this is no nkey that was made from a seed: anybody could sign by it")
    return key


@router.post(
    "/v1/admin/credentials/{credential_id}/revoke",
    **posts("credentials:revoke", None, 404, answer={200: {"model": RevokedCredential}}),
)
async def revoke(
    admin: Revoker, service: RunningDep, credential_id: str, request: Request
) -> Response:
    """Revoke a credential: its nkey is dead from then on."""
    now = time.time()
    async with idempotent(request, admin, service) as once:
        if once.first:
            credential = await revoke_credential(
                once.session,
                credential_id,
                account_id=service.material.people_id,
                context=admin.context,
                now=now,
            )
            user = await once.session.get_one(User, credential.user_id)
            once.answer(200, item_json(credential, user.username, now))
    if once.first:
        metrics.REVOKED.inc()
    return once.response(propagation=await _propagated(service))


@router.post(
    "/v1/admin/users/{username}/credentials:revoke",
    **_optional(
        posts("credentials:revoke", RevokeRequest, 404, 413, answer={200: {"model": RevokedAll}})
    ),
)
async def revoke_all_of_user(
    admin: Revoker, service: RunningDep, username: UserPath, request: Request
) -> Response:
    """Revoke all credentials of a user, or those first issued before a moment."""
    body = await read_body(request, RevokeRequest)
    before = math.ceil(body.issued_before.timestamp()) if body.issued_before else None
    revoked = 0
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            user = await find_user(once.session, username)
            revoked = await revoke_all(
                once.session,
                user.id,
                account_id=service.material.people_id,
                context=admin.context,
                now=time.time(),
                before=before,
            )
            once.answer(200, {"revoked": revoked})
    metrics.REVOKED.inc(revoked)
    return once.response(propagation=await _propagated(service))


async def _propagated(service: Running) -> dict[str, Any]:
    return propagation_json(await service.reconciler.propagate(service.material.people_id))
