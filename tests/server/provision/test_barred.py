"""Who is connected though the account JWT has ended it is closed, whatever nats-server let in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error as NatsError
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import Creds, encode
from authsvc.nkey import KeyPair
from authsvc.server.database import Database
from authsvc.server.models import AuditEvent
from authsvc.server.provision.attendance import Attendance
from authsvc.server.provision.closing_events import REVOKED, ClosingEvents
from authsvc.server.provision.publish import Stand
from authsvc.server.provision.resolver import Resolver
from tests.fixtures.authsvc import LiveService, StartService
from tests.fixtures.nats import NatsKit, NewNats
from tests.fixtures.waiting import until
from tests.server.provision.guests import Guests, closed, logged_in, quiet

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a server that can't no longer than it takes."""
    monkeypatch.setattr("authsvc.server.provision.reconcile.WAIT_SECONDS", 0.5)


@contextmanager
def unwritable(service: LiveService) -> Iterator[None]:
    """Keep nats-server from taking another JWT of the people's account: a folder is in its way."""
    accounts = service.settings.data_dir / "nats" / "accounts"
    (stored,) = Path(accounts).rglob(f"{service.running.material.people}.jwt")
    held = stored.read_bytes()
    stored.unlink()
    stored.mkdir()
    try:
        yield
    finally:
        stored.rmdir()
        stored.write_bytes(held)


async def events(service: LiveService) -> list[dict[str, Any]]:
    answer = await service.admin("GET", f"/v1/admin/audit?action={REVOKED}")
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def refused(guests: Guests, service: LiveService, jwt: str, key: KeyPair) -> bool:
    try:
        await guests.connect(service, jwt, key)
    except NatsError:
        return True
    return False


@on_sqlite
async def test_a_server_that_can_not_take_a_revocation_keeps_nobody(
    start_service: StartService, guests: Guests
) -> None:
    service = await start_service()
    before = closed("revoked")
    jwt, key = await logged_in(service, ALICE)
    alice = await guests.connect(service, jwt, key)
    bob = await guests.connect(service, *await logged_in(service, BOB))
    answer = await service.admin("GET", f"/v1/admin/credentials?user={ALICE}")
    (credential,) = (item["id"] for item in answer.json()["items"])
    with unwritable(service):
        path = f"/v1/admin/credentials/{credential}/revoke"
        revoking = asyncio.create_task(service.admin("POST", path))
        await until(lambda: alice.is_closed, 4)
        assert (await revoking).json()["propagation"]["state"] == "pending"
        # nats-server lets her in again, for a moment each time.
        for _ in range(2):
            again = await guests.connect(service, jwt, key)
            await until(lambda again=again: again.is_closed, 3)  # type: ignore[misc]
        await quiet([bob])

        async def counted() -> bool:
            return len(await events(service)) > 0 and closed("revoked") - before == 3

        await until(counted)
        (event,) = await events(service)
    assert event["actor"] == {"kind": "service", "id": "connections"}
    assert event["target"] == {"kind": "credential", "id": credential}
    assert event["details"] == {"reason": "revoked", "server": "authsvc-nats", "closed": 1}

    async def holds() -> bool:
        return await refused(guests, service, jwt, key)

    await until(holds)
    assert bob.is_connected


@on_sqlite
async def test_what_a_retired_key_signed_is_closed_likewise(
    start_service: StartService, guests: Guests
) -> None:
    service = await start_service()
    before = closed("signing-key")
    former = await guests.connect(service, *await logged_in(service, ALICE))
    rotated = await service.admin("POST", "/v1/admin/keys/rotate")
    assert rotated.status_code == 200, rotated.text

    async def active() -> bool:
        keys = (await service.admin("GET", "/v1/admin/keys?account=people")).json()["items"]
        states = {item["id"]: item["state"] for item in keys}
        return states.get(rotated.json()["id"]) == "active"

    await until(active)
    present = await guests.connect(service, *await logged_in(service, BOB))
    with unwritable(service):
        body = {"step": "retire", "confirm": True}
        retiring = asyncio.create_task(service.admin("POST", "/v1/admin/keys/rotate", json=body))
        await until(lambda: former.is_closed, 4)
        assert (await retiring).json()["propagation"]["state"] == "pending"
        await quiet([present])
        assert closed("signing-key") - before == 1


@pytest.fixture
async def attend(database: Database) -> AsyncIterator[Callable[[NatsKit], Attendance]]:
    """Look at who is connected, with nobody who pushes account JWTs."""
    opened: list[tuple[Resolver, Attendance]] = []

    def make(kit: NatsKit) -> Attendance:
        creds = kit.realm.system_creds()
        resolver = Resolver([kit.url], creds.jwt, creds.key)

        async def read() -> str:
            raise AssertionError("a revocation needs no row")

        events = ClosingEvents(database, 20)
        made = Attendance(resolver, kit.realm.people.public, 20, events, read)
        opened.append((resolver, made))
        return made

    yield make
    for resolver, made in opened:
        await made.stop()
        await resolver.close()


def stand(kit: NatsKit, *revoked: Creds) -> Stand:
    """What rows say of the people's account, of which the server has heard nothing."""
    keys, now = kit.realm.people, int(time.time())
    claims = replace(keys.claims, revocations={it.key.public.text: now for it in revoked})
    jwt = encode(claims, kit.realm.operator_signing)
    return Stand(keys.public, jwt, now, {})


async def test_who_is_there_when_a_server_comes_back_is_found(
    new_nats: NewNats, attend: Callable[[NatsKit], Attendance], database: Database
) -> None:
    """It comes back with an account JWT that is older, and nobody hears who connects."""
    kit = new_nats()
    alice, bob = (
        kit.user_creds(name, tags=(f"credential:crd_{name}",)) for name in ("alice", "bob")
    )
    attendance = attend(kit)
    attendance.note(stand(kit, alice))
    there = [await kit.connect(alice), await kit.connect(bob)]
    await attendance._resolver.connect()
    attendance.start()
    await until(lambda: there[0].is_closed, 5)
    assert there[1].is_connected
    await asyncio.to_thread(kit.server.restart, kill=True)
    there = [await kit.connect(bob), await kit.connect(alice), await kit.connect(alice)]
    await until(lambda: there[1].is_closed and there[2].is_closed, 5)
    assert there[0].is_connected

    async def told() -> list[AuditEvent]:
        async with database.reading() as session:
            found = select(AuditEvent).where(col(AuditEvent.action) == REVOKED)
            return list(await session.scalars(found))

    async def written() -> bool:
        return bool(await told())

    await until(written)
    # There is no such credential, as after its user was deleted, and it is told all the same.
    assert [event.target_id for event in await told()] == ["crd_alice"]
