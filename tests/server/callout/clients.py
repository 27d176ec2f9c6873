"""Clients that come without a JWT, and what the service has written down about them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from sqlalchemy import select, update
from sqlmodel import col

from authsvc import subjects
from authsvc.claims import (
    Creds,
)
from authsvc.server.models import AuditEvent, Credential, User
from tests.fixtures.authsvc import LiveService
from tests.fixtures.nats import connect_options
from tests.server.callout.conftest import Connect

ALICE, BOB = "alice@example.com", "bob.b@example.com"
A, B = (subjects.token(name) for name in (ALICE, BOB))


async def about(client: Client) -> dict[str, Any]:
    answer = await client.request("$SYS.REQ.USER.INFO", b"", timeout=5)
    found: dict[str, Any] = orjson.loads(answer.data)["data"]
    return found


async def events(service: LiveService, action: str) -> list[AuditEvent]:
    async with service.running.database.reading() as session:
        statement = select(AuditEvent).where(col(AuditEvent.action) == action)
        return list(await session.scalars(statement.order_by(col(AuditEvent.seq))))


async def credentials(service: LiveService) -> list[Credential]:
    async with service.running.database.reading() as session:
        return list(await session.scalars(select(Credential).order_by(col(Credential.id))))


async def set_user(service: LiveService, name: str, **values: Any) -> None:
    async with service.running.database.writing() as session:
        await session.execute(update(User).where(col(User.username) == name).values(**values))


async def refused(service: LiveService, connect: Connect, **options: Any) -> None:
    """nats-server lets nobody in, and nobody is told more than that."""
    with pytest.raises(NatsError, match="Authorization Violation"):
        await connect(service, **options)


def server_log(service: LiveService) -> str:
    return (service.settings.data_dir / "log" / "nats-server.log").read_text()


async def jwt_client(service: LiveService, connect: Connect, name: str) -> Client:
    answer = (await service.login(name)).json()
    creds = Creds(answer["jwt"], service.keys[name])
    prefix = answer["inbox_prefix"].encode()
    return await connect(service, **connect_options(creds), inbox_prefix=prefix)


async def until(true: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - nats-py has no event for it
            await asyncio.sleep(0.01)
