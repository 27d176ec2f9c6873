"""nats-server: what it needs, what it holds, a push."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlmodel import col
from starlette.responses import Response

from authsvc import jose
from authsvc.errors import InvalidInput, StartRefused
from authsvc.server import audit
from authsvc.server.api.admin.deps import Administrator, needs, scope
from authsvc.server.api.deps import RunningDep, read_body
from authsvc.server.api.schemas import Propagation, propagation_json, rfc3339
from authsvc.server.models import Account, Operator
from authsvc.server.provision import reconcile
from authsvc.server.provision.account_sizes import AccountSize, account_sizes
from authsvc.server.provision.answers import Server
from authsvc.server.provision.ceiling import CEILING_BYTES
from authsvc.server.provision.door import callout_option
from authsvc.server.provision.external import External, external_config

__all__ = ["router"]

router = APIRouter(prefix="/v1/admin/nats", tags=["admin"])

_JSON = "application/json"
_LAST_SECOND = 253402300799
"""9999-12-31T23:59:59Z."""
_Address = Annotated[str | None, Field(max_length=300, description="host:port")]
_Path = Annotated[str | None, Field(max_length=4096, description="On the server's machine.")]


class ConfigQuery(BaseModel):
    """How the nats-server shall listen; see ``External``."""

    model_config = ConfigDict(extra="forbid")

    server_name: Annotated[str, Field(max_length=256)] = "authsvc-nats"
    listen: Annotated[str, Field(max_length=300, description="host:port")] = "0.0.0.0:4222"
    store_dir: Annotated[str, Field(max_length=4096)] = "/data"
    ws_listen: _Address = None
    monitor: _Address = None
    advertise: _Address = None
    tls: bool = False
    tls_cert: _Path = None
    tls_key: _Path = None
    tls_ca: _Path = None
    accounts_only: bool = False
    cluster: Annotated[str | None, Field(max_length=256)] = None
    cluster_listen: Annotated[str, Field(max_length=300)] = "0.0.0.0:6222"
    route: Annotated[list[str], Field(max_length=100)] = []
    cluster_tls_cert: _Path = None
    cluster_tls_key: _Path = None
    cluster_tls_ca: _Path = None
    private_network: bool = False
    no_advertise: bool = False


class Nothing(BaseModel):
    """No body, or an empty object."""

    model_config = ConfigDict(extra="forbid")


class RoomItem(BaseModel):
    """A nats-server's room for streams on its disk, in bytes."""

    max_storage: int
    used_storage: int
    reserved_storage: int


class ServerItem(BaseModel):
    """A nats-server, and which accounts it holds the newest JWT of.

    ``clock_ahead`` is in seconds, by this service's clock; ``jetstream`` is null where the server
    has none, or did not say.
    """

    id: str
    name: str
    version: str
    answers: bool
    last_seen: str
    clock_ahead: float | None
    jetstream: RoomItem | None
    applied: dict[str, bool]


class AccountItem(BaseModel):
    """An account, how far it is published, and how large its JWT is."""

    id: str
    kind: Literal["people", "mail", "system", "door", "adopted"]
    name: str
    public_key: str
    revision: int
    published_revision: int
    issued_at: str | None
    jwt_bytes: int
    jwt_bytes_limit: int
    revocations: int
    warnings: list[str]
    propagation: Propagation


class ForeignItem(BaseModel):
    """An account JWT on nats-servers that is none of ours."""

    account: str
    name: str
    issuer: str
    issued_at: str | None
    servers: list[str]


class DriftItem(BaseModel):
    """What was found by looking at the servers."""

    looked_at: str | None
    mended: int


class NatsStatus(BaseModel):
    """What the nats-servers hold."""

    connected: bool
    error: str | None
    servers: list[ServerItem]
    accounts: list[AccountItem]
    foreign: list[ForeignItem]
    drift: DriftItem


class Pushed(BaseModel):
    """How far every account has come."""

    state: Literal["applied", "pending"]
    accounts: list[dict[str, Any]]


def _answers(what: str, answer: dict[str, Any], *statuses: int) -> dict[str, Any]:
    found = needs(what, *statuses)
    found["responses"] |= {200: answer}
    return found


@router.get("/config", **_answers("nats:push", {"content": {"text/plain": {}}}, 422))
async def config(
    service: RunningDep,
    _admin: Annotated[Administrator, scope("nats:push")],
    asked: Annotated[ConfigQuery, Query()],
) -> Response:
    """The configuration that an external nats-server needs; no secret is in it."""
    values = asked.model_dump()
    routes = tuple(values.pop("route"))
    async with service.database.reading() as session:
        operator = await session.scalar(select(col(Operator.jwt)))
        rows = await session.execute(
            select(col(Account.public_key), col(Account.jwt)).where(col(Account.jwt) != "")
        )
        preload = {row.public_key: row.jwt for row in rows}
    try:
        text = external_config(
            External(**values, routes=routes),
            operator=operator or service.material.operator_jwt,
            system_account=service.material.system,
            preload=preload,
            max_payload=service.settings.max_payload,
            callout=callout_option(service.door, service.settings),
        )
    except StartRefused as error:
        raise InvalidInput(str(error)) from None
    return Response(text, media_type="text/plain; charset=utf-8")


@router.get("/status", **_answers("users:read", {"model": NatsStatus}))
async def status(
    service: RunningDep, _admin: Annotated[Administrator, scope("users:read")]
) -> Response:
    """Which nats-servers there are, and what they hold."""
    reconciler = service.reconciler
    async with service.database.reading() as session:
        sizes = await account_sizes(session)
    drift = reconciler.drift
    answer = {
        "connected": reconciler.connected,
        "error": _why_not(reconciler),
        "servers": _servers(reconciler),
        "accounts": [_account(reconciler, size) for size in sizes],
        "foreign": [
            {
                "account": item.account,
                "name": item.name,
                "issuer": item.issuer,
                "issued_at": _moment(item.issued_at),
                "servers": list(item.servers),
            }
            for item in (drift.foreign if drift else ())
        ],
        "drift": {
            "looked_at": rfc3339(drift.looked_at) if drift else None,
            "mended": drift.mended if drift else 0,
        },
    }
    return Response(jose.dumps(answer), media_type=_JSON)


@router.post("/push", **_answers("nats:push", {"model": Pushed}, 422))
async def push(
    request: Request, service: RunningDep, admin: Annotated[Administrator, scope("nats:push")]
) -> Response:
    """Push every account JWT to every nats-server now, and tell how far each has come."""
    await read_body(request, Nothing)
    async with service.database.writing() as session:
        at = int(time.time() * 1000)
        operator = service.material.operator
        event = audit.event(admin.context, "nats.push", "operator", operator, {}, at)
        await audit.append(session, [event])
        sizes = await account_sizes(session)
    found = await service.reconciler.push()
    accounts = [
        {
            "id": size.id,
            "name": size.name,
            "public_key": size.public_key,
            "propagation": propagation_json(found[size.id]),
        }
        for size in sizes
    ]
    complete = all(item.state == "applied" for item in found.values())
    answer = {"state": "applied" if complete else "pending", "accounts": accounts}
    return Response(jose.dumps(answer), media_type=_JSON)


def _why_not(reconciler: reconcile.Reconciler) -> str | None:
    if reconciler.resolver is None:
        return "no nats-server is configured: set AUTHSVC_NATS_INTERNAL_URLS"
    return None if reconciler.connected else reconciler.resolver.error or "not connected"


def _servers(reconciler: reconcile.Reconciler) -> list[dict[str, Any]]:
    if reconciler.resolver is None:
        return []
    current, seen = reconciler.current, reconciler.resolver.last_seen()
    awake = reconciler.awake if reconciler.connected else set()
    return [
        {
            "id": server.id,
            "name": server.name,
            "version": server.version,
            "answers": server.id in awake,
            "last_seen": rfc3339(seen[server.id]),
            "clock_ahead": _ahead(server, seen[server.id]),
            "jetstream": _room(server),
            "applied": {
                account_id: any(held.id == server.id and held.applied for held in found.servers)
                for account_id, found in current.items()
            },
        }
        for server in reconciler.resolver.known()
        if server.id in seen
    ]


def _ahead(server: Server, heard_at: float) -> float | None:
    return None if server.clock is None else round(server.clock - heard_at, 3)


def _room(server: Server) -> dict[str, int] | None:
    room = server.room
    if room is None:
        return None
    return {
        "max_storage": room.most,
        "used_storage": room.used,
        "reserved_storage": room.reserved,
    }


def _account(reconciler: reconcile.Reconciler, size: AccountSize) -> dict[str, Any]:
    found = reconciler.current.get(size.id, reconcile.Propagation("pending"))
    if size.revision != size.published_revision:
        found = found.unconfirmed()
    return {
        "id": size.id,
        "kind": size.kind,
        "name": size.name,
        "public_key": size.public_key,
        "revision": size.revision,
        "published_revision": size.published_revision,
        "issued_at": _moment(size.issued_at),
        "jwt_bytes": size.jwt_bytes,
        "jwt_bytes_limit": CEILING_BYTES,
        "revocations": size.revocations,
        "warnings": size.warnings + _disbelief(reconciler, size.id),
        "propagation": propagation_json(found),
    }


def _disbelief(reconciler: reconcile.Reconciler, account_id: str) -> list[str]:
    names = reconciler.disbelieved.get(account_id)
    if not names:
        return []
    told = (
        "the operator JWT in the configuration does not name the key that signs this account; "
        "write the newer one (GET /jwt/v1/operator) and restart"
    )
    return [f"{', '.join(names)}: {told}"]


def _moment(seconds: int) -> str | None:
    """A time that somebody else may have written; None if it is none that RFC 3339 can have."""
    return rfc3339(seconds) if 0 < seconds <= _LAST_SECOND else None
