"""What retention drops is accepted; what somebody else drops is not."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import func, select
from sqlmodel import col

from authsvc.server.audit import chain, retention
from authsvc.server.audit.sealer import Sealer
from authsvc.server.audit.sealing import seal
from authsvc.server.models import AuditEvent, AuditSeal
from tests.server.audit.conftest import Trail

DAY = 86400


async def old_and_new(trail: Trail) -> float:
    """Three batches: 40 days old, half of it, and new."""
    now = time.time()
    for age in (40, 20, 0):
        await trail.write(3, at=int((now - age * DAY) * 1000))
        await seal(trail.database, trail.keystore, now)
    return now


async def test_whole_batches_are_dropped_and_the_chain_holds(trail: Trail) -> None:
    now = await old_and_new(trail)
    await trail.write(2, at=int((now - 50 * DAY) * 1000))
    assert await retention.drop(trail.database, trail.keystore, 30, now) == 3
    assert await retention.drop(trail.database, trail.keystore, 30, now) == 0
    async with trail.database.reading() as session:
        first = await session.get_one(AuditSeal, 1)
        statement = select(AuditEvent).where(col(AuditEvent.action) == "audit.drop")
        (event,) = await session.scalars(statement)
        left = await session.scalar(select(func.count()).select_from(AuditEvent))
    assert left == 9
    assert first.dropped_at == int(now)
    assert event.details == {
        "sealed": 3,
        "removed": 3,
        "batches": [{"batch": 1, "digest": first.digest}],
    }
    report = await trail.verify()
    assert report.ok
    assert (report.batches, report.events, report.dropped, report.unsealed) == (3, 6, 3, 3)


async def test_the_record_of_a_drop_may_be_dropped_too(trail: Trail) -> None:
    now = await old_and_new(trail)
    await retention.drop(trail.database, trail.keystore, 30, now)
    await seal(trail.database, trail.keystore, now)
    later = now + 31 * DAY
    await retention.drop(trail.database, trail.keystore, 30, later)
    report = await trail.verify()
    assert report.ok
    assert (report.dropped, report.events) == (10, 0)


async def test_a_deletion_that_claims_to_be_retention_is_found(trail: Trail) -> None:
    now = await old_and_new(trail)
    await retention.drop(trail.database, trail.keystore, 30, now)
    await trail.sql("DELETE FROM audit_events WHERE batch = 2")
    async with trail.database.reading() as session:
        first, second = await session.get_one(AuditSeal, 1), await session.get_one(AuditSeal, 2)
    forged = chain.drop_mac(b"k" * 32, 2, second.digest, int(now))
    for mac in (first.drop_mac, forged, "", None):
        changed = "UPDATE audit_seals SET dropped_at = :at, drop_mac = :mac WHERE batch = 2"
        assert await trail.sql(changed, at=first.dropped_at, mac=mac) == 1
        (problem,) = (await trail.verify()).problems
        assert (problem.kind, problem.batch) == ("batch-removed", 2)
        assert "retention" in problem.detail


async def test_many_batches_are_dropped_by_and_by(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_MAX_BATCHES", 4)
    monkeypatch.setattr(retention, "_MAX_EVENTS", 7)
    now = time.time()
    await trail.write(27, at=1_700_000_000_000)
    for size in (2, 2, 2, 2, 2, 1, 1, 1, 1, 10, 3):
        assert await seal(trail.database, trail.keystore, now, limit=size) == size
    assert await retention.drop(trail.database, trail.keystore, 1, now) == 27
    async with trail.database.reading() as session:
        statement = select(AuditEvent).where(col(AuditEvent.action) == "audit.drop")
        events = list(await session.scalars(statement.order_by(col(AuditEvent.seq))))
    assert [event.target_id for event in events] == ["1-4", "5-8", "9-10", "11-11"]
    assert (await trail.verify()).ok


async def test_a_service_with_the_setting_drops_by_itself(trail: Trail) -> None:
    await old_and_new(trail)
    sealer = Sealer(trail.database, trail.keystore, retention_days=30)
    sealer.start()
    deadline = time.monotonic() + 10
    while not (report := await trail.verify()).dropped:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await sealer.stop()
    assert report.ok
    assert report.dropped == 3
