"""The account server: what nats-server's URL resolver and ``nsc`` ask for.

Source: nats-server, server/accounts.go, URLAccResolver; docs.nats.io, "Account lookup using
resolver".
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import select
from sqlmodel import col
from starlette.responses import PlainTextResponse, Response

from authsvc.claims import decode_account, decode_operator
from authsvc.errors import InvalidKey, NotFound
from authsvc.nkey import Prefix, PublicKey
from authsvc.server.api.deps import RunningDep, refusals
from authsvc.server.models import Account, Operator

__all__ = ["router"]

router = APIRouter(prefix="/jwt/v1", tags=["account server"])

_MEDIA_TYPE = "application/jwt"
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {_MEDIA_TYPE: {"schema": {"type": "string"}}}},
    304: {"description": "The one that If-None-Match names is the newest."},
}


class _Jwt(Response):
    """A JWT; the class is for the OpenAPI document."""

    media_type = _MEDIA_TYPE


@router.get("/accounts/", response_class=PlainTextResponse)
async def ping() -> Response:
    """Tells that this is an account server; nats-server asks at its start."""
    return PlainTextResponse()


@router.get(
    "/accounts/{public_key}", response_class=_Jwt, responses={**_TEXT, **refusals(404, 503)}
)
async def account(public_key: str, request: Request, service: RunningDep) -> Response:
    """An account's JWT."""
    try:
        PublicKey.parse(public_key, Prefix.ACCOUNT)
    except InvalidKey:
        raise NotFound("there is no such account here") from None
    async with service.database.reading() as session:
        jwt = await session.scalar(
            select(col(Account.jwt)).where(col(Account.public_key) == public_key)
        )
    if not jwt:
        raise NotFound("there is no such account here")
    return _jwt(request, jwt, decode_account(jwt).id)


@router.get("/operator", response_class=_Jwt, responses={**_TEXT, **refusals(503)})
async def operator(request: Request, service: RunningDep) -> Response:
    """The operator's JWT."""
    async with service.database.reading() as session:
        jwt = (await session.scalars(select(col(Operator.jwt)))).one()
    return _jwt(request, jwt, decode_operator(jwt).id)


def _jwt(request: Request, jwt: str, jti: str) -> Response:
    headers = {"ETag": f'"{jti}"', "Cache-Control": "no-cache"}
    known = {
        tag.strip().removeprefix("W/").strip('"')
        for tag in request.headers.get("if-none-match", "").split(",")
    }
    if jti in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return _Jwt(jwt, headers=headers)
