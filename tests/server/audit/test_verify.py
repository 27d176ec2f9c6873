"""Whatever somebody changes in the database is found, and said where."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from itertools import count

import pytest
from sqlalchemy import func, select, text
from sqlmodel import col

from authsvc.errors import StoreUnavailable
from authsvc.server.audit import chain
from authsvc.server.audit.sealing import seal
from authsvc.server.audit.verify import snapshot, verify
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent, AuditSeal, Secret
from tests.server.audit.conftest import Trail

EVENT = "UPDATE audit_events SET"


@pytest.fixture(scope="module")
async def _shared_database(shared_database_url: str) -> AsyncIterator[Database]:
    started = Database(shared_database_url)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def trail(_shared_database: Database) -> Trail:
    """An audit that has just begun, in a database that all tests share."""
    made = Trail(_shared_database)
    for name in ("audit_events", "audit_seals", "secrets"):
        await made.sql(f"DELETE FROM {name}")  # noqa: S608
    if not made.database.is_sqlite:
        await made.sql("SELECT setval(pg_get_serial_sequence('audit_events', 'seq'), 1, false)")
    await made.begin()
    return made


def test_a_leaf_covers_every_column_but_the_batch() -> None:
    assert {*chain.COLUMNS, "batch"} == AuditEvent.model_fields.keys()


async def test_an_untouched_audit_holds(trail: Trail) -> None:
    await trail.seal(3, 1, 5)
    await trail.write(2)
    report = await trail.verify()
    assert report.ok
    assert report.problems == []
    assert (report.batches, report.events, report.unsealed) == (3, 9, 2)
    assert report.head is not None
    assert report.head.batch == 3


async def test_a_database_that_no_service_opened_holds(database: Database) -> None:
    trail = Trail(database)
    assert (await trail.verify()).ok
    assert not (await trail.verify((1, "0" * 64))).ok


async def test_an_audit_without_its_key_does_not(trail: Trail) -> None:
    """Whoever takes all seals, and the key, and marks the events as new."""
    await trail.seal(3)
    for statement in (
        "DELETE FROM audit_seals",
        "DELETE FROM secrets",
        "UPDATE audit_events SET batch = NULL",
    ):
        await trail.sql(statement)
    assert [it.kind for it in (await trail.verify()).problems] == ["secret-unusable"]
    await trail.begin()
    await seal(trail.database, trail.keystore, time.time())
    async with trail.database.reading() as session:
        actions = list(await session.scalars(select(col(AuditEvent.action))))
    assert actions[-1] == "audit.begin"


CHANGES = (
    "id = 'evt_other'",
    "at = at + 1",
    "actor_kind = 'api_key'",
    "actor_id = 'usr_2'",
    "action = 'credential.revoke'",
    "target_kind = 'user'",
    "target_id = 'crd_0'",
    "request_id = ''",
    "address = '192.0.2.2'",
    """details = '{"number": 10, "text": "a", "nested": {"b": [1.5, null], "a": true}}'""",
    "details = '{}'",
)


async def test_a_changed_event_is_found_whatever_column_it_is(trail: Trail) -> None:
    await trail.seal(1, len(CHANGES) + 1)
    for seq, change in enumerate(CHANGES, start=2):
        assert await trail.sql(f"{EVENT} {change} WHERE seq = {seq}") == 1
    async with trail.database.reading() as session:
        rows = await session.execute(text("SELECT seq, id FROM audit_events"))
        ids = {row.seq: row.id for row in rows}
    found = [(it.kind, it.batch, it.seq, it.id) for it in (await trail.verify()).problems]
    changed = range(2, 2 + len(CHANGES))
    assert found == [("event-changed", 2, seq, ids[seq]) for seq in changed]


async def test_a_change_that_reads_the_same_is_none(trail: Trail) -> None:
    """JSON with its members in another order, as another database may give it back."""
    await trail.seal(1)
    same = """{"nested": {"a": true, "b": [1.5, null]}, "text": "\\u00e4", "number": 1}"""
    await trail.sql(f"{EVENT} details = '{same}'")
    assert (await trail.verify()).ok


async def test_what_only_sqlite_keeps_is_found(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    trail = Trail(database)
    await trail.begin()
    await trail.seal(5, 1)
    await trail.sql(f"{EVENT} details = '{{' WHERE seq = 1")
    await trail.sql(f"{EVENT} at = x'00' WHERE seq = 2")
    await trail.sql(f"{EVENT} action = 7 WHERE seq = 3")
    await trail.sql(f"{EVENT} batch = 'x' WHERE seq = 4")
    await trail.sql("UPDATE audit_seals SET count = x'00', digest = '' WHERE batch = 2")
    await trail.sql(
        "INSERT INTO audit_seals SELECT 'y', first_seq, last_seq, count, previous, digest, root, "
        "newest_at, sealed_at, leaves, dropped_at, drop_mac FROM audit_seals WHERE batch = 1"
    )
    found = {(it.kind, it.batch, it.seq) for it in (await trail.verify()).problems}
    await database.stop()
    assert found >= {
        ("event-changed", 1, 1),
        ("event-changed", 1, 2),
        ("event-changed", 1, 3),
        ("event-removed", 1, 4),
        ("event-inserted", None, 4),
        ("seal-changed", 2, None),
        ("seal-changed", None, None),
    }


async def test_a_removed_event_is_found(trail: Trail) -> None:
    await trail.seal(3, 3)
    await trail.sql("DELETE FROM audit_events WHERE seq = 5")
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch, problem.seq) == ("event-removed", 2, 5)


async def test_an_event_taken_out_of_its_batch_is_found(trail: Trail) -> None:
    """The service seals it once more, changed as it may be; its first batch misses it."""
    await trail.seal(3)
    await trail.sql(f"{EVENT} batch = NULL, actor_id = 'usr_9' WHERE seq = 2")
    await trail.sql(f"{EVENT} address = '' WHERE seq = 9")
    await trail.write(1)
    assert await seal(trail.database, trail.keystore, 1) == 2
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch, problem.seq) == ("event-removed", 1, 2)


async def test_an_inserted_event_is_found(trail: Trail) -> None:
    await trail.seal(3, 3)
    await trail.write(1)
    await trail.sql(f"{EVENT} batch = 1 WHERE seq = 7")
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch, problem.seq) == ("event-inserted", 1, 7)
    await trail.sql(f"{EVENT} batch = 9 WHERE seq = 7")
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch, problem.seq) == ("event-inserted", 9, 7)


@pytest.mark.parametrize("pair", [(1, 2), (2, 5)])
async def test_a_swapped_pair_is_found(trail: Trail, pair: tuple[int, int]) -> None:
    await trail.seal(3, 3)
    one, other = pair
    batches = {1: 1, 2: 1, 5: 2}
    for was, becomes in ((one, 100), (other, one), (100, other)):
        await trail.sql(f"{EVENT} seq = :new WHERE seq = :old", new=becomes, old=was)
    for seq in pair:
        await trail.sql(f"{EVENT} batch = :batch WHERE seq = :seq", batch=batches[seq], seq=seq)
    found = [(it.kind, it.batch, it.seq) for it in (await trail.verify()).problems]
    assert found == [("event-changed", batches[seq], seq) for seq in pair]


async def test_a_removed_batch_is_found(trail: Trail) -> None:
    await trail.seal(3, 3, 3)
    await trail.sql("DELETE FROM audit_events WHERE batch = 2")
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch) == ("batch-removed", 2)
    await trail.sql("DELETE FROM audit_seals WHERE batch = 2")
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch) == ("seal-removed", 2)


async def test_batches_removed_at_the_end_are_found(trail: Trail) -> None:
    await trail.seal(3, 3, 3)
    await trail.sql("DELETE FROM audit_events WHERE batch > 1")
    await trail.sql("DELETE FROM audit_seals WHERE batch > 1")
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch) == ("chain-cut", 2)
    await trail.seal(2)
    (problem,) = (await trail.verify()).problems
    assert (problem.kind, problem.batch) == ("seal-removed", 2)


SEAL_CHANGES: dict[str, list[tuple[str, int]]] = {
    "first_seq = 0": [("seal-changed", 0)],
    "last_seq = 9": [("seal-changed", 0)],
    "count = 2": [("seal-changed", 0)],
    "newest_at = 1": [("seal-changed", 0)],
    "sealed_at = 1": [("seal-changed", 0)],
    "root = ''": [("seal-changed", 0), ("seal-changed", 0)],
    "leaves = ''": [("seal-changed", 0)],
    "previous = ''": [("chain-forked", 0), ("seal-changed", 0)],
    "digest = ''": [("seal-changed", 0), ("chain-forked", 1)],
    "dropped_at = 1": [("batch-removed", 0), ("event-inserted", 0)],
    "dropped_at = 1, drop_mac = ''": [("batch-removed", 0), ("event-inserted", 0)],
}


async def test_a_changed_seal_is_found_whatever_column_it_is(trail: Trail) -> None:
    await trail.seal(*[1] * (2 * len(SEAL_CHANGES) + 1))
    wanted = []
    for batch, (change, kinds) in zip(count(2, 2), SEAL_CHANGES.items(), strict=False):
        statement = "UPDATE audit_seals SET " + change + " WHERE batch = :batch"  # noqa: S608
        assert await trail.sql(statement, batch=batch) == 1
        wanted += [(kind, batch + further) for kind, further in kinds]
    found = [(it.kind, it.batch) for it in (await trail.verify()).problems]
    assert found == wanted


async def test_a_seal_under_another_number_is_found(trail: Trail) -> None:
    await trail.seal(2, 2, 2)
    await trail.sql("UPDATE audit_seals SET batch = 9 WHERE batch = 2")
    found = {(it.kind, it.batch) for it in (await trail.verify()).problems}
    assert found >= {("seal-removed", 2), ("seal-changed", 9), ("event-inserted", 2)}


@pytest.mark.parametrize("name", ["audit:key", "audit:head"])
async def test_a_missing_or_changed_secret_is_found(trail: Trail, name: str) -> None:
    await trail.seal(3)
    other = Keystore(b"x" * 32).seal_bytes(b"[0,1,2]", name)
    async with trail.database.writing() as session:
        (await session.get_one(Secret, name)).sealed = other
    assert [it.kind for it in (await trail.verify()).problems] == ["secret-unusable"]
    await trail.sql("DELETE FROM secrets WHERE name = :name", name=name)
    assert [it.kind for it in (await trail.verify()).problems] == ["secret-unusable"]


async def test_a_chain_made_anew_by_somebody_else_does_not_hold(trail: Trail) -> None:
    """All columns right, every digest made by the same rules, under another key."""
    await trail.seal(3, 3)
    key = b"k" * 32
    async with trail.database.writing() as session:
        previous = chain.FIRST
        for row in await session.scalars(select(AuditSeal).order_by(col(AuditSeal.batch))):
            row.previous = previous
            names = ("batch", "first_seq", "last_seq", "count", "newest_at", "sealed_at", "root")
            values = {name: getattr(row, name) for name in names}
            previous = row.digest = chain.Link(**values, previous=previous).digest(key)
    found = [it.kind for it in (await trail.verify()).problems]
    assert found == ["seal-changed", "seal-changed", "chain-forked"]


async def test_a_link_that_was_kept_elsewhere_is_looked_for(trail: Trail) -> None:
    await trail.seal(3, 3)
    async with trail.database.reading() as session:
        digest = (await session.get_one(AuditSeal, 1)).digest
    assert (await trail.verify((1, digest))).ok
    found = [(it.kind, it.batch) for it in (await trail.verify((1, "0" * 64))).problems]
    assert found == [("chain-forked", 1)]
    found = [(it.kind, it.batch) for it in (await trail.verify((3, digest))).problems]
    assert found == [("chain-cut", 3)]


async def test_a_bounded_number_of_problems_is_listed(trail: Trail) -> None:
    await trail.seal(500, 500, 250)
    await trail.sql(f"{EVENT} address = ''")
    report = await trail.verify()
    assert (report.found, len(report.problems), report.events) == (1250, 1000, 1250)


async def test_a_snapshot_can_not_write(trail: Trail) -> None:
    with pytest.raises(StoreUnavailable):
        async with snapshot(trail.database) as session:
            await session.execute(text("DELETE FROM audit_seals"))


async def test_a_snapshot_sees_one_state(trail: Trail) -> None:
    await trail.seal(2)
    async with snapshot(trail.database) as session:
        statement = select(func.count()).select_from(AuditSeal)
        assert await session.scalar(statement) == 1
        await trail.seal(2)
        assert await session.scalar(statement) == 1
        assert (await verify(session, trail.keystore)).ok
