"""The service seals by itself, whatever else happens at the same moment."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlmodel import col
from structlog.testing import capture_logs

from authsvc.errors import Conflict, KeyUnavailable
from authsvc.server import audit, metrics
from authsvc.server.audit import sealer as sealers_module
from authsvc.server.audit.anchor import begin
from authsvc.server.audit.sealer import Sealer
from authsvc.server.audit.sealing import MAX_BATCH, seal
from authsvc.server.database import Database
from authsvc.server.models import AuditEvent, AuditSeal
from tests.fixtures.authsvc import LiveService
from tests.server.audit.conftest import CONTEXT, Trail


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_batches_are_taken_in_order_up_to_the_limit(trail: Trail) -> None:
    await trail.write(25)
    taken = [await seal(trail.database, trail.keystore, 1_700_000_000, limit=10) for _ in range(4)]
    assert taken == [10, 10, 5, 0]
    async with trail.database.reading() as session:
        seals = list(await session.scalars(select(AuditSeal).order_by(col(AuditSeal.batch))))
    assert [(it.batch, it.first_seq, it.last_seq, it.count) for it in seals] == [
        (1, 1, 10, 10),
        (2, 11, 20, 10),
        (3, 21, 25, 5),
    ]
    assert seals[1].previous == seals[0].digest
    assert seals[0].sealed_at == 1_700_000_000
    assert (await trail.verify()).ok


async def test_what_json_has_no_word_for_is_sealed_too(sqlite_url: str) -> None:
    """Who writes such a thing past the service shall not stop the sealing; it will be noticed."""
    trail = Trail(Database(sqlite_url))
    await trail.begin()
    await trail.write(3)
    await trail.sql("UPDATE audit_events SET target_id = x'00ff' WHERE seq = 2")
    assert await seal(trail.database, trail.keystore, time.time()) == 3
    report = await trail.verify()
    assert not report.ok
    await trail.database.stop()


async def test_what_is_committed_late_goes_into_a_later_batch(postgres_url: str) -> None:
    database = Database(postgres_url)
    trail = Trail(database)
    await trail.begin()
    async with database.writing() as session:
        await audit.append(
            session, [audit.event(CONTEXT, "user.create", "user", "usr_1", {}, 1_700_000_000_000)]
        )
        await trail.write(2)
        assert await seal(database, trail.keystore, time.time()) == 2
    assert await seal(database, trail.keystore, time.time()) == 1
    async with database.reading() as session:
        rows = await session.execute(select(col(AuditEvent.seq), col(AuditEvent.batch)))
        assert sorted(map(tuple, rows)) == [(1, 2), (2, 1), (3, 1)]
    assert (await trail.verify()).ok
    await database.stop()


async def test_replicas_seal_each_event_once(trail: Trail) -> None:
    await trail.write(300)

    async def replica() -> int:
        done = 0
        for _ in range(40):
            try:
                done += await seal(trail.database, trail.keystore, time.time(), limit=20)
            except Conflict:
                await asyncio.sleep(0)
        return done

    assert sum(await asyncio.gather(*[replica() for _ in range(4)])) == 300
    report = await trail.verify()
    assert report.ok
    assert (report.events, report.unsealed) == (300, 0)


async def test_the_service_seals_while_others_write(trail: Trail) -> None:
    sealers = [Sealer(trail.database, trail.keystore) for _ in range(2)]
    for sealer in sealers:
        sealer.start()
    for _ in range(10):
        await trail.write(MAX_BATCH // 4)

    async def sealed() -> bool:
        return (await trail.verify()).unsealed < MAX_BATCH

    await eventually(sealed)
    for sealer in sealers:
        await sealer.stop()
    report = await trail.verify()
    assert report.ok
    assert report.events + report.unsealed == 10 * (MAX_BATCH // 4)


async def test_few_events_wait_for_others(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealers_module, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(sealers_module, "_WAIT_MS", 1000)
    sealer = Sealer(trail.database, trail.keystore)
    sealer.start()
    await trail.write(2)
    await asyncio.sleep(0.3)
    assert (await trail.verify()).unsealed == 2
    assert metrics.AUDIT_WAITING._value.get() == 2

    async def sealed() -> bool:
        return (await trail.verify()).unsealed == 0

    await eventually(sealed)
    await asyncio.sleep(0.2)
    await sealer.stop()
    assert metrics.AUDIT_WAITING._value.get() == 0
    assert time.time() - metrics.AUDIT_SEALED._value.get() < 5


async def test_nothing_is_sealed_without_head_or_key(trail: Trail) -> None:
    """A new head would hide that the newest seals were cut off."""
    await trail.seal(2, 2)
    await trail.sql("DELETE FROM audit_seals WHERE batch = 2")
    await trail.sql("DELETE FROM secrets WHERE name = 'audit:head'")
    await trail.begin()
    await trail.write(1)
    with pytest.raises(KeyUnavailable, match="audit:head"):
        await seal(trail.database, trail.keystore, time.time())
    await trail.sql("DELETE FROM secrets")
    await trail.begin()
    with pytest.raises(KeyUnavailable):
        await seal(trail.database, trail.keystore, time.time())
    assert not (await trail.verify()).ok


async def test_a_seal_that_stands_in_the_way_is_not_replaced(trail: Trail) -> None:
    await trail.seal(2, 2)
    await trail.sql("UPDATE audit_seals SET batch = 3 WHERE batch = 2")
    await trail.write(1)
    with pytest.raises((IntegrityError, sqlite3.IntegrityError)):
        await seal(trail.database, trail.keystore, time.time())
    report = await trail.verify()
    assert (report.unsealed, report.ok) == (1, False)


async def test_the_log_says_once_why_nothing_is_sealed(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealers_module, "_LOOK_SECONDS", 0.01)
    await trail.sql("DELETE FROM secrets WHERE name = 'audit:head'")
    sealer = Sealer(trail.database, trail.keystore)
    with capture_logs() as lines:
        sealer.start()
        await asyncio.sleep(0.3)
        await sealer.stop()
    assert [(line["event"], line["exc_info"]) for line in lines] == [("audit not sealed", None)]
    assert "audit:head" in lines[0]["error"]


async def test_a_chain_that_begins_late_says_so(database: Database) -> None:
    trail = Trail(database)
    await trail.write(3)
    await trail.begin()
    await trail.begin()
    async with database.reading() as session:
        statement = select(AuditEvent).where(col(AuditEvent.action) == "audit.begin")
        (event,) = await session.scalars(statement)
    assert event.details == {"older_events": 3}
    assert (event.actor_kind, event.actor_id) == ("service", "audit")


async def test_replicas_begin_one_chain(database: Database) -> None:
    trail = Trail(database)
    await trail.write(1)

    async def start() -> None:
        async with database.writing() as session:
            await begin(session, trail.keystore, time.time())

    await asyncio.gather(*[start() for _ in range(4)])
    assert await seal(database, trail.keystore, time.time()) == 2
    assert (await trail.verify()).ok


async def test_a_service_that_runs_has_its_gauges(service: LiveService) -> None:
    assert (await service.login("alice@example.com")).status_code == 201
    shown = (await service.http.get("/metrics")).text
    assert "authsvc_audit_events_waiting " in shown
    assert "authsvc_audit_sealed_timestamp_seconds " in shown
