"""What tests of an adopted NATS ask the service and the servers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from nats.aio.client import Client as NatsClient
from sqlalchemy import select

from authsvc.claims import (
    AccountClaims,
    Creds,
    encode,
)
from authsvc.nkey import KeyPair
from authsvc.server.models import Account, AuditEvent
from authsvc.server.provision.drift import Drift
from authsvc.server.provision.resolver import Resolver
from tests.fixtures.authsvc import LiveService
from tests.fixtures.nats import connect_options
from tests.fixtures.nsc import Nsc, NscServer

StartNats = Callable[[Nsc], NscServer]


@asynccontextmanager
async def connected(url: str, creds: Creds) -> AsyncIterator[tuple[NatsClient, list[str]]]:
    """A client, and what it was told since."""
    client, told = NatsClient(), []

    async def note(*_: object) -> None:
        told.append("disturbed")

    await client.connect(
        url,
        disconnected_cb=note,
        error_cb=note,
        **connect_options(creds),
    )
    try:
        yield client, told
    finally:
        await client.close()


async def echoes(client: NatsClient) -> None:
    subscription = await client.subscribe("echo")
    await client.publish("echo", b"here")
    assert (await subscription.next_msg(5)).data == b"here"
    await subscription.unsubscribe()


def resolver_of(service: LiveService) -> Resolver:
    return cast("Resolver", service.running.reconciler.resolver)


def drift_of(service: LiveService) -> Drift:
    found = service.running.reconciler.drift
    assert found is not None
    return found


async def applied(service: LiveService) -> None:
    found = await service.running.reconciler.push()
    assert {item.state for item in found.values()} == {"applied"}


async def held(service: LiveService, account: str) -> list[str]:
    return await resolver_of(service).lookups(account)


async def row(service: LiveService, account: str) -> Account:
    async with service.running.database.reading() as session:
        return (await session.scalars(select(Account).filter_by(public_key=account))).one()


async def events(service: LiveService, action: str) -> list[AuditEvent]:
    async with service.running.database.reading() as session:
        return list(await session.scalars(select(AuditEvent).filter_by(action=action)))


async def status(service: LiveService) -> dict[str, Any]:
    found: dict[str, Any] = (
        await service.admin("GET", "/v1/admin/nats/status", "users:read")
    ).json()
    return found


async def rotate(service: LiveService, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", "/v1/admin/keys/rotate", "keys:rotate", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def signed(claims: AccountClaims, signer: KeyPair, after: int, **values: Any) -> str:
    at = max(int(time.time()), claims.issued_at) + after
    return encode(replace(claims, issued_at=at, **values), signer)
