from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.util import await_only
from sqlmodel import select

from authsvc.errors import StoreUnavailable
from authsvc.server.database import Database
from authsvc.server.group_commit import GroupCommit
from authsvc.server.models import UsedProof
from authsvc.server.turns import Turns


def _insert(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
    connection.execute(insert(UsedProof), [{"mark": x} for x in orders])
    return orders


async def _digests(database: Database) -> set[bytes]:
    async with database.reading() as session:
        return set(await session.scalars(select(UsedProof.mark)))


async def test_orders_share_transactions_and_get_their_own_results(database: Database) -> None:
    batches: list[int] = []

    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        batches.append(len(orders))
        return _insert(connection, orders)

    group = GroupCommit(database, work)
    orders = [os.urandom(32) for _ in range(600)]
    assert await asyncio.gather(*[group.submit(order) for order in orders]) == orders
    assert await _digests(database) == set(orders)
    assert max(batches) <= 256
    assert len(batches) < 20
    await group.stop()


async def test_a_batch_has_its_share_and_no_more(database: Database) -> None:
    batches: list[int] = []

    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        batches.append(len(orders))
        return _insert(connection, orders)

    group = GroupCommit(database, work, share=lambda pending: max(4, pending // 2))
    orders = [os.urandom(32) for _ in range(20)]
    assert await asyncio.gather(*[group.submit(order) for order in orders]) == orders
    assert batches[0] == 10
    assert max(batches) == 10
    assert sum(batches) == 20
    await group.stop()


async def test_the_next_batch_begins_before_the_last_one_is_told(postgres_url: str) -> None:
    """So that PostgreSQL has something to do while answers are made."""
    database = Database(postgres_url)
    happened: list[str] = []

    async def sooner(orders: list[bytes]) -> Sequence[bytes | Exception]:
        happened.append("work")
        await asyncio.sleep(0.05)
        return orders

    group = GroupCommit(database, _insert, sooner=sooner, share=lambda _: 10)

    async def submit() -> None:
        await group.submit(os.urandom(32))
        happened.append("told")

    await asyncio.gather(*[submit() for _ in range(30)])
    assert happened == ["work", *["work", *["told"] * 10] * 2, *["told"] * 10]
    await group.stop()
    await database.stop()


async def test_others_write_too_while_orders_never_end(database: Database) -> None:
    group = GroupCommit(database, _insert, share=lambda pending: pending // 2)

    async def submit() -> None:
        while True:
            await group.submit(os.urandom(32))

    flood = [asyncio.create_task(submit()) for _ in range(32)]
    await asyncio.sleep(0.2)
    for _ in range(5):
        async with asyncio.timeout(2), database.writing() as session:
            await session.execute(insert(UsedProof).values(mark=os.urandom(32)))
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    assert group.answered > 32
    await group.stop()


async def test_orders_one_after_the_other_are_all_done(database: Database) -> None:
    group = GroupCommit(database, _insert)
    orders = [os.urandom(32) for _ in range(50)]
    for order in orders:
        assert await asyncio.wait_for(group.submit(order), 10) == order
        assert order in await _digests(database)
    await group.stop()


async def test_a_result_comes_only_after_the_commit(database: Database) -> None:
    inside, leave = asyncio.Event(), asyncio.Event()

    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        done = _insert(connection, orders)
        inside.set()
        await_only(leave.wait())
        return done

    group = GroupCommit(database, work)
    task = asyncio.create_task(group.submit(b"x"))
    await inside.wait()
    assert not task.done()
    assert await _digests(database) == set()
    leave.set()
    assert await task == b"x"
    assert await _digests(database) == {b"x"}
    await group.stop()


async def test_an_exception_as_outcome_reaches_its_submitter_alone(database: Database) -> None:
    def work(connection: Connection, orders: list[int]) -> Sequence[int | Exception]:
        return [ValueError(str(order)) if order % 2 else order for order in orders]

    group = GroupCommit(database, work)
    outcomes = await asyncio.gather(*[group.submit(n) for n in range(10)], return_exceptions=True)
    assert [o if isinstance(o, int) else str(o) for o in outcomes] == [
        str(n) if n % 2 else n for n in range(10)
    ]
    await group.stop()


async def test_a_poisonous_order_fails_alone(database: Database) -> None:
    group = GroupCommit(database, _insert)
    twice = b"same"
    orders = [b"a", twice, b"b", twice, b"c"]
    outcomes = await asyncio.gather(*[group.submit(x) for x in orders], return_exceptions=True)
    assert outcomes[:3] == orders[:3]
    assert isinstance(outcomes[3], IntegrityError)
    assert outcomes[4] == b"c"
    assert await _digests(database) == {b"a", b"b", b"c", twice}
    await group.stop()


async def test_cancelled_submitters_disturb_nobody(database: Database) -> None:
    group = GroupCommit(database, _insert)
    tasks = [asyncio.create_task(group.submit(bytes([number]))) for number in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == [bytes([number]) for number in range(1, 20, 2)]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert await group.submit(b"later") == b"later"
    await group.stop()


async def test_stop_drains_and_then_refuses(database: Database) -> None:
    group = GroupCommit(database, _insert)
    tasks = [asyncio.create_task(group.submit(bytes([number]))) for number in range(5)]
    await asyncio.sleep(0)
    await group.stop()
    assert len(await asyncio.gather(*tasks)) == 5
    with pytest.raises(StoreUnavailable, match="stopping"):
        await group.submit(b"x")


async def test_work_that_forgets_an_order_is_an_error(database: Database) -> None:
    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        _insert(connection, orders)
        return []

    group = GroupCommit(database, work)
    with pytest.raises(RuntimeError, match="0 outcomes for 1 orders"):
        await group.submit(b"x")
    assert await _digests(database) == set()
    await group.stop()


async def test_an_order_that_loses_a_race_is_done_again(database: Database) -> None:
    """Another process committed the row after it was looked for."""
    digest = os.urandom(32)
    async with database.writing() as session:
        connection = await session.connection()
        await connection.run_sync(_insert, [digest])
    tries = 0

    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        nonlocal tries
        tries += 1
        known = set(connection.scalars(select(UsedProof.mark))) if tries > 1 else set()
        if known.issuperset(orders):
            return [b"won"]
        return _insert(connection, orders)

    group = GroupCommit(database, work)
    assert await group.submit(digest) == b"won"
    await group.stop()


async def test_an_order_that_always_fails_is_not_tried_for_ever(database: Database) -> None:
    digest = os.urandom(32)
    tries = 0

    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        nonlocal tries
        tries += 1
        return _insert(connection, orders * 2)

    group = GroupCommit(database, work)
    with pytest.raises(IntegrityError):
        await group.submit(digest)
    await group.stop()
    assert tries == 3


async def test_a_quicker_way_goes_before_the_transaction(database: Database) -> None:
    asked: list[int] = []

    async def sooner(orders: list[bytes]) -> Sequence[bytes | Exception] | None:
        asked.append(len(orders))
        return None if orders[0].startswith(b"slow") else [order + b" done" for order in orders]

    group = GroupCommit(database, _insert, sooner=sooner)
    assert await group.submit(b"quick") == b"quick done"
    assert await group.submit(b"slow") == b"slow"
    assert asked == [1, 1]
    assert await _digests(database) == {b"slow"}
    await group.stop()


async def test_a_batch_waits_for_half_of_those_who_come(database: Database) -> None:
    """The database has one half while the other is made ready."""
    batches: list[int] = []
    turns = Turns(1)

    def work(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
        batches.append(len(orders))
        return _insert(connection, orders)

    group = GroupCommit(database, work, coming=lambda: len(turns))

    async def order(number: int) -> bytes | None:
        await turns.take()
        if number % 10 == 9:
            return None  # it was nothing: nobody may wait for it
        return await group.submit(os.urandom(32))

    found = await asyncio.wait_for(asyncio.gather(*[order(number) for number in range(20)]), 20)
    assert sum(it is not None for it in found) == 18
    assert sum(batches) == 18
    assert 8 <= batches[0] < 18
    await group.stop()
