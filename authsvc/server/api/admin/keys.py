"""Signing keys: list them, rotate them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import Propagation, propagation_json, rfc3339
from authsvc.server.rotation import Listed, Rotated, list_keys
from authsvc.server.running import Running

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/keys", tags=["admin"])

_JSON = "application/json"
_SCOPE = "keys:rotate"
Admin = Annotated[Administrator, scope(_SCOPE)]


class RotateRequest(BaseModel):
    """The optional body of ``POST /v1/admin/keys/rotate``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    account: Annotated[
        str,
        Field(
            max_length=64, description="people, mail, system, operator, or an account's id or key."
        ),
    ] = "people"
    step: Annotated[
        Literal["all", "prepare", "activate", "retire"],
        Field(description="all: prepare, activate, and retire the former key when it is time."),
    ] = "all"
    public_key: Annotated[
        str | None,
        Field(max_length=64, description="The key to retire; the oldest that signs no more."),
    ] = None
    confirm: Annotated[
        bool, Field(description="Retire it although people are cut off by that.")
    ] = False


class KeyItem(BaseModel):
    """A key; its seed never leaves this way."""

    id: str
    public_key: str
    owner: Literal["operator", "account", "user"]
    account: str | None
    purpose: Literal["identity", "signing", "login", "role"]
    name: str
    generation: int
    state: Literal["prepared", "active", "retired"]
    signs: bool
    held: bool
    automatic: bool
    created_at: datetime
    activated_at: datetime | None
    superseded_at: datetime | None
    retire_after: datetime | None
    retired_at: datetime | None
    exported_at: datetime | None
    credentials: int | None


class KeyPage(BaseModel):
    """A page of keys."""

    items: list[KeyItem]
    next_cursor: str | None


class RotatedAnswer(KeyItem):
    """The key that a step was about."""

    propagation: Propagation


def _route(answer: type[BaseModel], *statuses: int) -> dict[str, Any]:
    described = needs(_SCOPE, *statuses)
    described["responses"][200] = {"model": answer}
    return described


@router.get("", **_route(KeyPage, 422))
async def keys(
    service: RunningDep,
    _admin: Admin,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(pattern=r"^key_[0-9a-v]{26}$")] = None,
) -> Response:
    """All keys, the oldest first: the operator's, the accounts', the service's own users'."""
    found = await _listed(service)
    page = [it for it in found if cursor is None or it.key.id > cursor][: limit + 1]
    more = page[limit - 1].key.id if len(page) > limit else None
    items = [_item_json(it) for it in page[:limit]]
    return Response(jose.dumps({"items": items, "next_cursor": more}), media_type=_JSON)


@router.post("/rotate", **_route(RotatedAnswer, 404, 409, 413, 422))
async def rotate(request: Request, service: RunningDep, admin: Admin) -> Response:
    """Rotate an account's signing key, in one go or step by step."""
    body = await read_body(request, RotateRequest)
    if body.step != "retire" and (body.public_key is not None or body.confirm):
        raise InvalidInput("public_key and confirm belong to the step retire")
    done = await _step(service, body, admin)
    found = next(it for it in await _listed(service) if it.key.id == done.key_id)
    answer = {**_item_json(found), "propagation": propagation_json(done.propagation)}
    return Response(jose.dumps(answer), media_type=_JSON)


async def _step(service: Running, body: RotateRequest, admin: Administrator) -> Rotated:
    if body.account == "operator":
        return await _operator_step(service, body, admin)
    match body.step:
        case "prepare":
            return await service.rotation.prepare(body.account, admin.context)
        case "activate":
            return await service.rotation.activate(body.account, admin.context)
        case "retire":
            return await service.rotation.retire(
                body.account, body.public_key, admin.context, confirm=body.confirm
            )
        case _:
            return await service.rotation.rotate(body.account, admin.context)


async def _operator_step(service: Running, body: RotateRequest, admin: Administrator) -> Rotated:
    operator = service.rotation.operator
    match body.step:
        case "activate":
            return await operator.activate(admin.context)
        case "retire":
            return await operator.retire(body.public_key, admin.context, confirm=body.confirm)
        case step:
            return await operator.prepare(admin.context, automatic=step == "all")


async def _listed(service: Running) -> list[Listed]:
    rotation = service.rotation
    async with service.database.reading() as session:
        return await list_keys(
            session, life=rotation.life, grace=rotation.grace, now=int(time.time())
        )


def _item_json(listed: Listed) -> dict[str, Any]:
    key = listed.key
    return {
        "id": key.id,
        "public_key": key.public_key,
        "owner": key.owner,
        "account": listed.account,
        "purpose": key.purpose,
        "name": key.name,
        "generation": key.generation,
        "state": key.state,
        "signs": listed.signs,
        "held": bool(key.sealed_seed),
        "automatic": key.automatic,
        "created_at": rfc3339(key.created_at),
        "activated_at": rfc3339(key.activated_at),
        "superseded_at": rfc3339(listed.superseded_at),
        "retire_after": rfc3339(listed.retire_after),
        "retired_at": rfc3339(key.retired_at),
        "exported_at": rfc3339(key.exported_at),
        "credentials": listed.credentials,
    }
