"""Terminals that ask to be let in, by the code that they show: look, let in, refuse."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from authsvc import jose
from authsvc.server import devices
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.admin.idempotent import idempotent, posts
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import rfc3339
from authsvc.server.models import DeviceRequest

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/device", tags=["admin"])

_JSON = "application/json"
_Admin = Annotated[Administrator, scope("credentials:issue")]
_Code = Annotated[str, Path(description="As the terminal shows it, with or without its hyphen.")]


class DeviceApproval(BaseModel):
    """The body of letting a terminal in."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[str, Field(max_length=512, description="As whom.")]


class DeviceItem(BaseModel):
    """A terminal that asks, or asked."""

    id: str
    state: Literal["pending", "approved", "denied", "taken"]
    public_key: str
    client: str
    address: str
    username: str | None
    created_at: datetime
    expires_at: datetime


def _json(found: DeviceRequest) -> dict[str, Any]:
    return {
        "id": found.id,
        "state": found.state,
        "public_key": found.public_key,
        "client": found.client,
        "address": found.address,
        "username": found.username,
        "created_at": rfc3339(found.created_at),
        "expires_at": rfc3339(found.expires_at),
    }


@router.get("/{user_code}", **needs("credentials:issue", 404, answer={200: {"model": DeviceItem}}))
async def one(user_code: _Code, service: RunningDep, _admin: _Admin) -> Response:
    """The terminal that shows a code."""
    async with service.database.reading() as session:
        found = await devices.find_request(session, user_code, time.time())
    return Response(jose.dumps(_json(found)), media_type=_JSON)


@router.post(
    "/{user_code}/approve",
    **posts("credentials:issue", DeviceApproval, 404, answer={200: {"model": DeviceItem}}),
)
async def approve(
    user_code: _Code, request: Request, service: RunningDep, admin: _Admin
) -> Response:
    """Let the terminal in, as the user: it is that user from then on."""
    body = await read_body(request, DeviceApproval)
    now = time.time()
    async with idempotent(request, admin, service, body) as once:
        if once.first:
            found = await devices.find_request(once.session, user_code, now, lock=True)
            await devices.decide(
                once.session, found, username=body.username, context=admin.context, now=now
            )
            once.answer(200, _json(found))
    return once.response()


@router.post(
    "/{user_code}/deny",
    **posts("credentials:issue", None, 404, answer={200: {"model": DeviceItem}}),
)
async def deny(user_code: _Code, request: Request, service: RunningDep, admin: _Admin) -> Response:
    """Refuse the terminal."""
    now = time.time()
    async with idempotent(request, admin, service) as once:
        if once.first:
            found = await devices.find_request(once.session, user_code, now, lock=True)
            await devices.decide(once.session, found, username=None, context=admin.context, now=now)
            once.answer(200, _json(found))
    return once.response()
