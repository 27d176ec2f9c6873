"""``/v1/credentials``: what a user does with the user's own credentials."""

from __future__ import annotations

import time
from functools import cache, partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from authsvc import jose, subjects
from authsvc.errors import InvalidInput, InvalidName, InvalidToken
from authsvc.server import audit, metrics
from authsvc.server.api.deps import (
    CallerDep,
    RunningDep,
    address,
    read_body,
    refusals,
    request_id_of,
    service_of,
)
from authsvc.server.api.proofs import present
from authsvc.server.api.ready import ReadyJson
from authsvc.server.api.schemas import (
    PROOF,
    CredentialAnswer,
    CredentialPage,
    CredentialRequest,
    Revoked,
    issued_json,
    item_json,
    propagation_json,
)
from authsvc.server.login import LoginMethod, claimed_identity, method_for
from authsvc.server.running import Running
from authsvc.server.sessions import (
    Login,
    Renewal,
    list_credentials,
    revoke_credential,
)
from authsvc.server.sessions.authorize import read_jwt

__all__ = ["POSTS", "router"]

router = APIRouter(tags=["credentials"])

_JSON = "application/json"
_RENEWALS = metrics.ISSUED.labels("renewal", "")
_logins = cache(partial(metrics.ISSUED.labels, "login"))

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": CredentialRequest.model_json_schema()}},
    }
}


def _method(service: Running, name: str | None, token: str) -> LoginMethod:
    found = method_for(service.methods, token, name)
    if found is not None:
        return found
    if name is None:
        raise InvalidInput(
            "no login method is configured; set AUTHSVC_SYFTBOX_URL, "
            "AUTHSVC_SYFTBOX_ACCESS_TOKEN_SECRET or AUTHSVC_OIDC_ISSUER"
        )
    # The name is not repeated: who mistakes the fields puts a token here.
    raise InvalidInput(
        f"there is no such login method; there is {', '.join(service.methods)}", "body.method"
    )


def _app_name(given: str | None) -> str | None:
    try:
        return None if given is None else subjects.app_name(given)
    except InvalidName as error:
        raise InvalidName(str(error), "body.app") from None


@router.post(
    "/v1/credentials",
    status_code=201,
    response_model=None,
    responses={201: {"model": CredentialAnswer}, **refusals(401, 403, 409, 413, 422, 429, 503)},
    openapi_extra={**_BODY, **PROOF, "security": [{"identity": []}]},
)
async def issue(request: Request) -> Response:
    """Log in: prove who you are and that the nkey is yours, get a credential."""
    # No dependencies here and in renew: each costs as much as reading the token.
    service = service_of(request)
    await service.desk.turn()
    now = time.time()
    request_id, client = request_id_of(request), address(request)
    presented = present(request, "bearer", service.origins, now)
    body = await read_body(request, CredentialRequest)
    method = _method(service, body.method, presented.token)
    attempt = await service.attempts.begin(
        client,
        lambda: claimed_identity(method, presented.token, body.username),
        request_id,
        now,
    )
    try:
        identity = await method.verify(presented.token, now, claimed=body.username)
    except InvalidToken:
        await attempt.failed()
        raise
    issued = await service.desk.order(
        Login(
            proof=presented.proof,
            request_id=request_id,
            address=client,
            now=now,
            identity=identity,
            name=body.name,
            ttl=body.ttl,
            app=_app_name(body.app),
            attempt=attempt.mark,
        )
    )
    _logins(identity.method).inc()
    return ReadyJson(issued_json(issued, service.servers, time.time()), 201)


@router.post(
    "/v1/credentials/renew",
    status_code=201,
    response_model=None,
    responses={201: {"model": CredentialAnswer}, **refusals(401, 403, 409, 413, 422, 503)},
    openapi_extra={**PROOF, "security": [{"credential": []}]},
)
async def renew(request: Request) -> Response:
    """A new JWT for the credential whose JWT is presented."""
    service = service_of(request)
    await service.desk.turn()
    now = time.time()
    presented = present(request, "dpop", service.origins, now)
    claims, credential = read_jwt(presented.token, presented.proof)
    issued = await service.desk.order(
        Renewal(
            proof=presented.proof,
            request_id=request_id_of(request),
            address=address(request),
            now=now,
            credential=credential,
            issuer=claims.issuer,
            expires_at=claims.expires,
        )
    )
    _RENEWALS.inc()
    return ReadyJson(issued_json(issued, service.servers, time.time()), 201)


@router.get(
    "/v1/credentials",
    response_model=None,
    responses={200: {"model": CredentialPage}, **refusals(401, 403, 422, 503)},
    openapi_extra={**PROOF, "security": [{"credential": []}]},
)
async def own(
    service: RunningDep,
    caller: CallerDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^crd_[0-9a-v]{26}$")] = None,
) -> Response:
    """Your credentials, newest first."""
    async with service.database.reading() as session:
        found = await list_credentials(session, caller.user_id, limit=limit + 1, after=cursor)
    now = time.time()
    page = [item_json(credential, caller.username, now) for credential in found[:limit]]
    more = found[limit - 1].id if len(found) > limit else None
    return Response(jose.dumps({"items": page, "next_cursor": more}), media_type=_JSON)


@router.delete(
    "/v1/credentials/{credential_id}",
    response_model=None,
    responses={200: {"model": Revoked}, **refusals(401, 403, 404, 503)},
    openapi_extra={**PROOF, "security": [{"credential": []}]},
)
async def revoke(
    credential_id: str, request: Request, service: RunningDep, caller: CallerDep
) -> Response:
    """Revoke one of your credentials: its nkey is dead from then on."""
    now = time.time()
    async with service.database.writing() as session:
        await service.proofs.spend(session, caller.proof)
        credential = await revoke_credential(
            session,
            credential_id,
            account_id=service.material.people_id,
            context=audit.Context(
                audit.Actor("user", caller.user_id), request.state.request_id, address(request)
            ),
            now=now,
            user_id=caller.user_id,
        )
        answer = item_json(credential, caller.username, now)
    propagation = await service.reconciler.propagate(service.material.people_id)
    answer["propagation"] = propagation_json(propagation)
    metrics.REVOKED.inc()
    return Response(jose.dumps(answer), media_type=_JSON)


POSTS = {"/v1/credentials": issue, "/v1/credentials/renew": renew}
"""Served in front of FastAPI, whose routes stay for the OpenAPI document: these two read
everything from the request themselves."""
