"""What the tests of scoped roles share: a member's connection that comes back by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client
from sqlalchemy import delete, select
from sqlmodel import col

from authsvc.claims import Creds, UserClaims, decode_user
from authsvc.nkey import KeyPair
from authsvc.server import audit, roles
from authsvc.server.models import Role, SigningKey
from tests.fixtures.authsvc import LiveService, empty
from tests.fixtures.nats import connect_options
from tests.security.raw import RawClient

ROLES, GRANTS = "/v1/admin/roles", "/v1/admin/grants"


class Member:
    """A plain NATS client with one JWT for ever."""

    def __init__(self) -> None:
        self.client = Client()
        self.back = asyncio.Event()
        self.reconnects = 0
        self.refusals: list[str] = []

    async def on_back(self) -> None:
        self.reconnects += 1
        self.back.set()

    async def on_error(self, error: Exception) -> None:
        self.refusals.append(str(error))

    async def returned(self) -> None:
        """Wait until it was cut and is connected again."""
        async with asyncio.timeout(5):
            await self.back.wait()
        self.back.clear()

    async def may(self, subject: str) -> bool:
        """Whether nats-server lets it publish there."""
        self.refusals.clear()
        await self.client.publish(subject, b"x")
        await self.client.flush()
        await self.client.flush()  # the first one may have overtaken what it should wait for
        return not self.refusals


@asynccontextmanager
async def member(service: LiveService, jwt: str, key: KeyPair) -> AsyncIterator[Member]:
    one = Member()
    await one.client.connect(
        service.nats_url,
        **connect_options(Creds(jwt, key)),
        reconnect_time_wait=0,
        reconnected_cb=one.on_back,
        error_cb=one.on_error,
    )
    try:
        yield one
    finally:
        await one.client.close()


@asynccontextmanager
async def raw_member(service: LiveService, jwt: str, key: KeyPair) -> AsyncIterator[RawClient]:
    """A connection whose refusals are counted one by one."""
    url = urlsplit(service.nats_url)
    client = await RawClient.connect(str(url.hostname), int(url.port or 0), Creds(jwt, key))
    try:
        yield client
    finally:
        await client.close()


async def user(service: LiveService, name: str, *roles: str, **limits: Any) -> None:
    body = {"username": name, "roles": list(roles), **limits}
    answer = await service.admin("POST", "/v1/admin/users", "users:write", json=body)
    assert answer.status_code == 201, answer.text


async def scope(service: LiveService, name: str) -> dict[str, Any]:
    answer = await service.admin("PUT", f"{ROLES}/{name}", "users:write", json={"scoped": True})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    assert made["propagation"]["state"] == "applied"
    assert made["state"] == "active"
    return made


async def unscope_all(service: LiveService) -> None:
    """Bring an emptied service's roles to their end, and its accounts to the servers."""
    async with service.running.database.writing() as session:
        context, now = audit.Context(audit.Actor("service", "test"), "", ""), time.time()
        for name in list(await session.scalars(select(col(Role.name)))):
            await roles.unscope(session, name, context=context, now=now)
        await session.execute(delete(SigningKey).where(col(SigningKey.purpose) == "role"))
    people = service.running.material.people_id
    assert (await service.running.reconciler.propagate(people, wait=20)).state == "applied"
    await empty(service)


async def grant(service: LiveService, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", GRANTS, "users:write", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def take(service: LiveService, made: dict[str, Any]) -> dict[str, Any]:
    answer = await service.admin("DELETE", f"{GRANTS}/{made['id']}", "users:write")
    assert answer.status_code == 200, answer.text
    gone: dict[str, Any] = answer.json()
    return gone


async def login(service: LiveService, name: str, **body: Any) -> tuple[str, UserClaims]:
    answer = await service.login(name, **body)
    assert answer.status_code == 201, answer.text
    jwt = answer.json()["jwt"]
    return jwt, decode_user(jwt)


async def me(service: LiveService, name: str, jwt: str) -> dict[str, list[str]]:
    answer = await service.call("GET", "/v1/me", "DPoP", jwt, service.keys[name])
    assert answer.status_code == 200, answer.text
    found: dict[str, list[str]] = answer.json()["permissions"]
    return found
