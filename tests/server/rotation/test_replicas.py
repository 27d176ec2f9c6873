"""Replicas that rotate at the same moment, and people who are connected meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authsvc.claims import Creds, decode_user
from authsvc.errors import Conflict
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.app import open_service
from authsvc.server.models import Account
from authsvc.server.rotation import Rotated, Rotation, find_account, read_line
from authsvc.server.rotation.lines import Line
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.waiting import until
from tests.security.raw import RawClient

CONTEXT = audit.Context(audit.Actor("api_key", "test"), "", "")


@pytest.fixture(scope="module")
async def replicas(
    tmp_path_factory: pytest.TempPathFactory, _shared_postgres_url: str
) -> AsyncIterator[list[Rotation]]:
    """Five services over one PostgreSQL and one nats-server; each test has an account."""
    folder = tmp_path_factory.mktemp("replicas")
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(live_service(folder, _shared_postgres_url))
        found = [first.running.rotation]
        for _ in range(4):
            other = await stack.enter_async_context(open_service(first.settings))
            found.append(other.rotation)
        yield found


async def rotated_account(rotation: Rotation, name: str) -> Account:
    async with rotation._database.reading() as session:
        return await find_account(session, name)


async def line_of(rotation: Rotation, name: str = "people") -> Line:
    account = await rotated_account(rotation, name)
    async with rotation._database.reading() as session:
        return await read_line(session, account.id)


async def test_one_key_a_generation(replicas: list[Rotation]) -> None:
    """Fifty orders at the same moment on five replicas."""
    done = await asyncio.gather(*(replicas[n % 5].rotate("mail", CONTEXT) for n in range(50)))
    line = await line_of(replicas[0], "mail")
    generations = [key.generation for key in line.keys]
    assert generations == list(range(len(generations), 0, -1))
    # All began before any had ended: they share one new key.
    assert generations == [2, 1]
    assert {it.key_id for it in done} == {line.keys[0].id}
    # A machine that has no time to spare may let one pass the bound of an answer.
    assert {it.propagation.state for it in done} <= {"applied", "pending"}
    assert line.signer is line.keys[0]
    account = (await rotated_account(replicas[0], "mail")).id
    reconciler = replicas[0]._reconciler
    assert (await reconciler.propagate(account, wait=20)).state == "applied"


async def test_steps_in_any_order_keep_the_line(replicas: list[Rotation]) -> None:
    """Prepare, activate, rotate and retire at random: only clear conflicts, never two signers."""
    dice = random.Random(7)  # noqa: S311 - the same at each run

    async def act(rotation: Rotation) -> Rotated:
        await asyncio.sleep(dice.random() * 2)
        match dice.choice(("prepare", "activate", "rotate", "retire")):
            case "prepare":
                return await rotation.prepare("people", CONTEXT)
            case "activate":
                return await rotation.activate("people", CONTEXT)
            case "rotate":
                return await rotation.rotate("people", CONTEXT)
            case _:
                return await rotation.retire("people", None, CONTEXT, confirm=True)

    found = await asyncio.gather(*(act(replicas[n % 5]) for n in range(45)), return_exceptions=True)
    kinds = Counter(type(it) for it in found)
    assert set(kinds) <= {Rotated, Conflict}, kinds
    line = await line_of(replicas[0])
    generations = [key.generation for key in line.keys]
    assert generations == list(range(len(generations), 0, -1))
    assert line.signer is not None
    assert [key.state for key in line.keys].count("prepared") <= 1


async def stay(service: LiveService, name: str, stop: asyncio.Event, stays: Counter[str]) -> None:
    """Log in, stay connected, renew and reconnect until told to stop; any refusal fails."""
    key = KeyPair.generate(Prefix.USER)
    jwt = (await service.login(name, key)).json()["jwt"]
    host, port = service.nats_url.removeprefix("nats://").split(":")
    while not stop.is_set():
        client = await RawClient.connect(host, int(port), Creds(jwt, key))
        assert await client.refused() == [], name
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2 + 0.9 * secrets.randbelow(100) / 100):
                await stop.wait()
        assert await client.refused() == [], name
        await client.close()
        answer = await service.renew(jwt, key)
        assert answer.status_code == 201, answer.text
        jwt = answer.json()["jwt"]
        stays[name] += 1


async def test_rotation_under_live_connections(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many people connect, renew and reconnect while the key is rotated and the former retires."""
    monkeypatch.setattr("authsvc.server.rotation.lines.MARGIN", 0)
    monkeypatch.setattr("authsvc.server.tending._TEND_SECONDS", 0.1)
    async with live_service(tmp_path, sqlite_url, credential_ttl=3, renew_grace=1) as service:
        rotation, stop, stays = service.running.rotation, asyncio.Event(), Counter[str]()
        lost = KeyPair.generate(Prefix.USER)
        old_jwt = (await service.login("away@example.com", lost)).json()["jwt"]
        names = [f"u{n}@example.com" for n in range(25)]
        people = [asyncio.create_task(stay(service, name, stop, stays)) for name in names]

        async def all_came_back() -> None:
            """Everybody stayed, renewed and is connected again."""
            before = stays.copy()
            await until(lambda: all(stays[name] > before[name] for name in names))

        await all_came_back()
        before = (await line_of(rotation)).keys[0]
        assert (await rotation.rotate("people", CONTEXT)).propagation.state == "applied"

        async def retired() -> bool:
            return (await line_of(rotation)).keys[1].state == "retired"

        await until(retired, 20)
        await all_came_back()
        stop.set()
        await asyncio.gather(*people)
        # What the retired key signed is refused, by nats-server and by the service.
        assert decode_user(old_jwt).issuer == before.public_key
        assert (await service.renew(old_jwt, lost)).status_code == 401
