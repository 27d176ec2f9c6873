from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.models import App, AuditEvent, Grant, User, new_id


def _user(name: str = "alice@example.com") -> User:
    return User(id=new_id("usr"), username=name, token="t", kind="email", created_at=1)


async def _names(database: Database) -> set[str]:
    async with database.reading() as session:
        return set(await session.scalars(select(User.username)))


async def test_what_was_written_is_read_again(database: Database) -> None:
    user = _user()
    user.roles = ["operators", "ä"]
    async with database.writing() as session:
        session.add(user)
        await session.flush()
        session.add(Grant(id="g", user_id=user.id, publish=["a.>"], created_by="x", created_at=2))
    async with database.reading() as session:
        found = await session.get(User, user.id)
        assert found is not None
        assert found.roles == ["operators", "ä"]
        assert (await session.scalars(select(Grant))).one().publish == ["a.>"]


async def test_an_exception_rolls_back(database: Database) -> None:
    async def fail() -> None:
        async with database.writing() as session:
            session.add(_user())
            await session.flush()
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail()
    assert await _names(database) == set()


async def test_a_constraint_is_no_unavailability(database: Database) -> None:
    async def write_twice() -> None:
        async with database.writing() as session:
            session.add_all([_user(), _user()])

    with pytest.raises(IntegrityError):
        await write_twice()
    assert await _names(database) == set()


async def test_other_failures_in_a_transaction_stay_what_they_are(database: Database) -> None:
    async def fail(error: Exception) -> None:
        async with database.writing() as session:
            session.add(_user())
            await session.flush()
            raise error

    for error in (ConnectionRefusedError("elsewhere"), TimeoutError("elsewhere")):
        with pytest.raises(type(error), match="elsewhere"):
            await fail(error)
    assert await _names(database) == set()


async def test_foreign_keys_hold_and_cascade(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.writing() as session:
            session.add(App(id="a", user_id="nobody", name="x", token="x", created_at=1))
    user = _user()
    async with database.writing() as session:
        session.add(user)
        await session.flush()
        session.add(App(id="a", user_id=user.id, name="x", token="x", created_at=1))
    async with database.writing() as session:
        await session.execute(text("DELETE FROM users"))
    async with database.reading() as session:
        assert (await session.scalars(select(App))).all() == []


async def test_transactions_that_read_and_write_lose_no_update(database: Database) -> None:
    async with database.writing() as session:
        session.add(_user())

    async def add_one() -> None:
        async with database.writing() as session:
            user = (await session.scalars(select(User).with_for_update())).one()
            await asyncio.sleep(0)
            user.created_at += 1

    await asyncio.gather(*[add_one() for _ in range(20)])
    async with database.reading() as session:
        assert (await session.scalars(select(User.created_at))).one() == 21


async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(
    database: Database,
) -> None:
    entered = asyncio.Event()

    async def never_ends() -> None:
        async with database.writing() as session:
            session.add(_user("bob@example.com"))
            await session.flush()
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(never_ends())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.writing() as session:
        session.add(_user())
    assert await _names(database) == {"alice@example.com"}


async def test_a_commit_that_is_cancelled_is_whole(database: Database) -> None:
    async def write(name: str) -> None:
        async with database.writing() as session:
            session.add(_user(name))

    for number in range(30):
        task = asyncio.create_task(write(f"{number}@example.com"))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with database.writing() as session:
        session.add(_user())
    assert "alice@example.com" in await _names(database)


async def test_the_sequence_of_audit_events_rises(database: Database) -> None:
    context = audit.Context(audit.Actor("user", "usr_x"), "r", "127.0.0.1")
    rows = [audit.event(context, "a", "user", "usr_x", {"x": [1, None]}, 1) for _ in range(3)]
    async with database.writing() as session:
        await audit.append(session, rows)
    async with database.reading() as session:
        found = (await session.scalars(select(AuditEvent))).all()
    assert sorted(event.seq or 0 for event in found) == [1, 2, 3]
    assert found[0].details == {"x": [1, None]}


def test_ids_sort_by_time_and_differ() -> None:
    made = [new_id("usr") for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(text) == 30 and text.startswith("usr_") for text in made)
    assert made[0][4:13] <= made[-1][4:13]
    assert set("".join(text[4:] for text in made)) <= set("0123456789abcdefghijklmnopqrstuv")
