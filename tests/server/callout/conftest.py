"""The service with auth callout on, and clients that come to nats-server without a JWT."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from nats.aio.client import Client
from sqlalchemy import select
from sqlmodel import col

from authsvc import subjects
from authsvc.claims import Authorization, Creds, UserClaims, decode_account, encode
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.callout import Responder
from authsvc.server.models import Account, SigningKey
from authsvc.server.provision.account_jwts import operator_signing_key
from authsvc.server.provision.accounts import provisioner_user
from tests.fixtures.authsvc import LiveService, StartService, access_token, empty, live_service
from tests.fixtures.nats import connect_options

Connect = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="module")
async def _one_door(
    _sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveService]:
    folder = tmp_path_factory.mktemp("door")
    url = f"sqlite:///{shutil.copy(_sqlite_template, folder / 'authsvc.db')}"
    async with live_service(folder / "data", url, callout=True) as service:
        yield service


@pytest.fixture
async def door(_one_door: LiveService) -> LiveService:
    """The service with auth callout on, on SQLite: one for the module, emptied for each test."""
    await empty(_one_door)
    return _one_door


@pytest.fixture
async def own_door(tmp_path: Path, sqlite_url: str) -> AsyncIterator[LiveService]:
    """One of the test's own, to change what a new service would not have."""
    async with live_service(tmp_path / "data", sqlite_url, callout=True) as service:
        yield service


@pytest.fixture
async def any_door(start_service: StartService) -> LiveService:
    """The same, on SQLite and on PostgreSQL."""
    return await start_service(callout=True)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """nats-py clients of a service, closed at the end; an e-mail alone gets a token for it."""
    opened: list[Client] = []

    async def make(service: LiveService, email: str = "", **options: Any) -> Client:
        if email:
            options = {"user": "syftbox", "password": access_token(email)} | options
        client = Client()
        opened.append(client)
        await client.connect(
            service.nats_url,
            **{
                "allow_reconnect": False,
                "max_reconnect_attempts": 1,
                "connect_timeout": 5,
                "error_cb": _ignore,
                "inbox_prefix": f"_INBOX.{subjects.token(email or 'nobody')}".encode(),
                **options,
            },
        )
        return client

    yield make
    for client in opened:
        with contextlib.suppress(Exception):
            await client.close()


async def _ignore(_error: Exception) -> None:
    """Take the place of nats-py's callback, which logs every error with a traceback."""


def responder_of(service: LiveService) -> Responder:
    """What answers in the service."""
    fault: Any = service.running.faults["callout"]
    return cast("Responder", fault.__self__)


def port_of(service: LiveService) -> int:
    """nats-server's."""
    return urlsplit(service.nats_url).port or 0


async def push_door(service: LiveService, authorization: Authorization) -> None:
    """Let nats-server hold another JWT of the door's account than the service would make."""
    running = service.running
    assert running.door is not None
    async with running.database.reading() as session:
        account = await session.get_one(Account, running.door.account_id)
        signer = await operator_signing_key(session, running.keystore)
    claims = decode_account(account.jwt)
    claims.authorization = authorization
    claims.issued_at += 1
    resolver: Any = running.reconciler._resolver
    answers = await resolver.push(encode(claims, signer))
    assert [answer.applied for answer in answers] == [True]


async def creds_in(service: LiveService, account_id: str, claims: UserClaims) -> Creds:
    """A user of an account, signed by its signing key, as only the service could."""
    async with service.running.database.reading() as session:
        row = await session.scalar(
            select(SigningKey)
            .where(col(SigningKey.account_id) == account_id)
            .where(col(SigningKey.purpose) == "signing")
        )
    assert row is not None
    signer = service.running.keystore.open(row.sealed_seed, row.public_key)
    key = KeyPair.generate(Prefix.USER)
    claims.subject = key.public.text
    return Creds(encode(claims, signer), key)


async def provisioner(service: LiveService) -> dict[str, Any]:
    """How the service's provisioner logs in to MAIL."""
    material = service.running.material
    claims = provisioner_user(subject="", account=material.mail, issued_at=int(time.time()))
    creds = await creds_in(service, material.mail_id, claims)
    prefix = f"_INBOX.{claims.name}"
    return {**connect_options(creds), "inbox_prefix": prefix.encode()}
