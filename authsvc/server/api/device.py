"""``/v1/device``: how a terminal asks to be let in, and polls (RFC 8628).

Requests and answers have OAuth's shape, errors too, so that its libraries can be used; the proof of
possession by the nkey is the one that RFC 9449 has for token requests. The page where a person
decides is in ``device_page``.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidProof, NotFound, Unavailable
from authsvc.server import devices
from authsvc.server.api.deps import RunningDep, address, refusals
from authsvc.server.api.forms import read_form
from authsvc.server.api.proofs import present_key
from authsvc.server.api.schemas import PROOF
from authsvc.server.running import Running

__all__ = ["offered", "router"]

router = APIRouter(tags=["device"])

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_CLIENT_CHARS = 64
_MAX_CODE_CHARS = 128


class DeviceAuthorizationAnswer(BaseModel):
    """RFC 8628 section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceTokenAnswer(BaseModel):
    """RFC 6749 section 5.1; ``POST /v1/credentials`` takes the token, once."""

    access_token: str
    token_type: str
    expires_in: int


class OAuthError(BaseModel):
    """RFC 6749 section 5.2."""

    error: str
    error_description: str


_TEXTS = {
    "authorization_pending": "nobody has decided yet",
    "slow_down": "polled too soon; wait longer from now on",
    "access_denied": "it was refused",
    "expired_token": "the code has expired; ask again",
    "invalid_grant": "the device code is not known, was used, or is another nkey's",
    "unsupported_grant_type": f"grant_type has to be {GRANT_TYPE}",
    "invalid_dpop_proof": "a DPoP proof of possession by the terminal's nkey is needed",
}
_ERRORS: dict[int | str, dict[str, Any]] = {400: {"model": OAuthError}}


async def offered(service: RunningDep) -> Running:
    """The service, if terminals may ask here.

    Raises:
        NotFound: They may not.
    """
    if "device" not in service.methods:
        raise NotFound("device authorization is off here; AUTHSVC_DEVICE_LOGIN turns it on")
    return service


_Offered = Annotated[Running, Depends(offered)]


def _body(*required: str, **fields: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": bool(required), "content": content}, **PROOF}


def _refuse(error: str, description: str = "", status: int = 400, *, interval: int = 0) -> Response:
    document: dict[str, Any] = {
        "error": error,
        "error_description": description or _TEXTS[error],
    }
    if interval:
        document["interval"] = interval
    return Response(jose.dumps(document), status, media_type="application/json")


def _client(fields: dict[str, str]) -> str:
    """What the terminal calls itself; people read it, so nothing may hide in it."""
    name = fields.get("client_name") or fields.get("client_id") or ""
    return "".join(char for char in name if char.isprintable())[:_MAX_CLIENT_CHARS]


@router.post(
    "/v1/device/authorize",
    response_model=None,
    responses={
        200: {"model": DeviceAuthorizationAnswer},
        **_ERRORS,
        **refusals(404, 413, 429, 503),
    },
    openapi_extra=_body(client_id="Any.", client_name="What the terminal calls itself."),
)
async def authorize(request: Request, service: _Offered) -> Response:
    """Ask to be let in, as a terminal: the codes are for the nkey of the proof alone."""
    now = time.time()
    try:
        fields = await read_form(request)
        proof = present_key(request, service.origins, now)
        await service.attempts.begin(
            address(request), lambda: "(terminal)", request.state.request_id, now
        )
        async with service.database.writing() as session:
            await service.proofs.spend(session, proof)
            asked = await devices.ask(
                session,
                proof.public_key.text,
                client=_client(fields),
                address=address(request),
                now=now,
            )
    except InvalidProof:
        return _refuse("invalid_dpop_proof")
    except InvalidInput as error:
        return _refuse("invalid_request", str(error))
    except Unavailable as error:
        if type(error) is not Unavailable:
            raise
        return _refuse("temporarily_unavailable", str(error), 503)
    page = f"{service.public_url}/device"
    answer = {
        "device_code": asked.device_code,
        "user_code": asked.user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={asked.user_code}",
        "expires_in": asked.expires_in,
        "interval": asked.interval,
    }
    return Response(jose.dumps(answer), media_type="application/json")


@router.post(
    "/v1/device/token",
    response_model=None,
    responses={200: {"model": DeviceTokenAnswer}, **_ERRORS, **refusals(404, 413, 503)},
    openapi_extra=_body(
        "grant_type", "device_code", grant_type=f"`{GRANT_TYPE}`.", device_code="As it was given."
    ),
)
async def token(request: Request, service: _Offered) -> Response:
    """Poll, as the same terminal; the token that it gets is for ``POST /v1/credentials``."""
    now = time.time()
    try:
        fields = await read_form(request)
        proof = present_key(request, service.origins, now)
        if fields.get("grant_type") != GRANT_TYPE:
            return _refuse("unsupported_grant_type")
        code = fields.get("device_code", "")
        if not 0 < len(code) <= _MAX_CODE_CHARS:
            return _refuse("invalid_request", "device_code is missing or too long")
        async with service.database.writing() as session:
            await service.proofs.spend(session, proof)
            polled = await devices.poll(session, code, proof.public_key.text, now)
    except InvalidProof:
        return _refuse("invalid_dpop_proof")
    except InvalidInput as error:
        return _refuse("invalid_request", str(error))
    if polled.error:
        return _refuse(polled.error, interval=polled.interval)
    answer = {
        "access_token": polled.token,
        "token_type": "DPoP",
        "expires_in": devices.TOKEN_SECONDS,
    }
    return Response(jose.dumps(answer), media_type="application/json")
