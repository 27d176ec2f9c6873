"""The rows behind Idempotency-Key, on both databases and between two replicas."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from sqlalchemy import func, select

from authsvc.errors import IdempotencyMismatch, RequestInProgress
from authsvc.server import api_keys, idempotency, tending
from authsvc.server.database import Database
from authsvc.server.idempotency import Kept, claim, digest, forget, keep
from authsvc.server.models import ApiKey, IdempotencyKey
from authsvc.server.sessions import SpentProofs

KEY, ASKED, OTHER = digest("key_1", "POST", "/x", "k"), digest("", "{}"), digest("", "[]")


def test_no_two_requests_share_a_digest() -> None:
    assert digest("a", "bc") != digest("ab", "c")
    assert digest("a") != digest("a", "")


async def make(database: Database, name: str, now: float, asked: bytes = ASKED) -> Kept | None:
    """One request: an API key is its work."""
    async with database.writing() as session:
        kept = await claim(session, KEY, asked, now)
        if kept is None:
            session.add(api_keys.make(name, [], int(now))[1])
            await keep(session, KEY, asked, 201, name.encode(), now)
    return kept


async def count(database: Database) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(ApiKey)) or 0


async def kept(database: Database) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(IdempotencyKey)) or 0


async def test_done_once_and_answered_again(database: Database) -> None:
    now = time.time()
    assert await make(database, "one", now) is None
    assert await make(database, "two", now) == Kept(201, b"one")
    with pytest.raises(IdempotencyMismatch):
        await make(database, "three", now, OTHER)
    assert await count(database) == 1


async def test_forgotten_after_a_day(database: Database) -> None:
    now = int(time.time())
    await make(database, "one", now)
    async with database.writing() as session:
        await forget(session, now + idempotency.KEPT_SECONDS - 1)
    assert await make(database, "two", now + idempotency.KEPT_SECONDS - 1) == Kept(201, b"one")
    # Whether it was pruned by then or not.
    assert await make(database, "three", now + idempotency.KEPT_SECONDS, OTHER) is None
    async with database.writing() as session:
        await forget(session, now + 2 * idempotency.KEPT_SECONDS)
    assert await kept(database) == 0
    assert await count(database) == 2


async def test_the_service_prunes(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tending, "_PRUNE_SECONDS", 0.01)
    await make(database, "old", time.time() - idempotency.KEPT_SECONDS - 1)
    pruning = asyncio.create_task(tending.prune(database, SpentProofs(), 3600))
    try:
        for _ in range(500):
            await asyncio.sleep(0.01)
            if not await kept(database):
                break
        assert await kept(database) == 0
    finally:
        pruning.cancel()


async def fail(database: Database, now: float) -> None:
    async with database.writing() as session:
        assert await claim(session, KEY, ASKED, now) is None
        session.add(api_keys.make("lost", [], int(now))[1])
        await keep(session, KEY, ASKED, 201, b"lost", now)
        raise ZeroDivisionError  # as the power going, just before the commit


async def test_what_fails_leaves_nothing(database: Database) -> None:
    now = time.time()
    with pytest.raises(ZeroDivisionError):
        await fail(database, now)
    assert await count(database) == 0
    assert await make(database, "one", now) is None


async def test_a_replica_is_told_that_the_other_is_at_it(postgres_url: str) -> None:
    one, two = Database(postgres_url), Database(postgres_url)
    await one.start()
    await two.start()
    now = time.time()
    try:
        async with one.writing() as session:
            assert await claim(session, KEY, ASKED, now) is None
            with pytest.raises(RequestInProgress):
                await make(two, "two", now)
            session.add(api_keys.make("one", [], int(now))[1])
            await keep(session, KEY, ASKED, 201, b"one", now)
            with pytest.raises(RequestInProgress):
                await make(two, "two", now)
        assert await make(two, "two", now) == Kept(201, b"one")
        assert await count(one) == 1
    finally:
        await one.stop()
        await two.stop()


async def test_two_replicas_at_once(database_url: str) -> None:
    """Forty of the same request, side by side on two connections pools: one does the work."""
    replicas = [Database(database_url), Database(database_url)]
    for replica in replicas:
        await replica.start()
    now = time.time()
    done: list[Kept | None] = []

    async def ask(place: int) -> None:
        while True:
            with contextlib.suppress(RequestInProgress):
                done.append(await make(replicas[place % 2], f"by {place}", now))
                return
            await asyncio.sleep(0.005)

    try:
        await asyncio.gather(*(ask(place) for place in range(40)))
        assert await count(replicas[0]) == 1
    finally:
        for replica in replicas:
            await replica.stop()
    assert done.count(None) == 1
    assert len({kept for kept in done if kept is not None}) == 1
