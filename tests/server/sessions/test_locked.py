"""Logins on SQLite past SQLAlchemy: the same answers and the same rows as by the transaction."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, text, update
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.dpop import Proof
from authsvc.errors import InvalidProof, KeyRevoked, StoreUnavailable, TooManyRequests
from authsvc.server.database import Database
from authsvc.server.models import (
    AttemptCount,
    AuditEvent,
    Credential,
    Grant,
    UsedProof,
    User,
    new_id,
)
from authsvc.server.sessions import locked
from authsvc.server.sqlite_driver import SqliteDriver
from tests.server.sessions.office import Office, user_key

NAME = "alice@x.com"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """PostgreSQL has another way, see test_optimistic.py."""
    return sqlite_url


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each transaction by the long way."""
    seen: list[int] = []
    real = Database.transact

    async def transact(database: Database, step: Any) -> Any:
        seen.append(1)
        return await real(database, step)

    monkeypatch.setattr(Database, "transact", transact)
    return seen


async def rows(database: Database, table: Any) -> int:
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def test_many_at_once_need_no_transaction(office: Office, transactions: list[int]) -> None:
    await office.login(NAME, user_key())  # opens the signing key
    transactions.clear()
    keys = [user_key() for _ in range(40)]
    first = await office.everybody(keys)
    again = await office.everybody(keys)
    assert transactions == []
    assert [it.id for it in again] == [it.id for it in first]
    assert await rows(office.database, Credential) == 41
    assert await rows(office.database, UsedProof) == 81
    async with office.database.reading() as session:
        found = await session.get_one(Credential, again[7].id)
        user = await session.get_one(User, found.user_id)
        actions = list(
            await session.scalars(select(col(AuditEvent.action)).order_by(col(AuditEvent.seq)))
        )
    assert (found.jti, found.signer) != ("", "")
    assert (found.app, found.revoked_at, found.issued_at) == (None, None, again[7].issued_at)
    assert (user.username, user.roles, user.kind) == ("u7@x.com", [], "email")
    assert actions.count("credential.issue") == 81
    assert actions.count("user.create") == 41


async def test_rows_are_as_the_transaction_writes_them(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All columns, by their types too."""

    async def written(name: str) -> list[list[Any]]:
        key = user_key()
        for _ in range(2):  # inserted, then changed
            await office.login(name, key, label='"ä\\', now=1_800_000_000.5, ttl=600)
        found: list[list[Any]] = []
        async with office.database.reading() as session:
            for table, columns, where in (
                ("users", "*", f"username = '{name}'"),
                ("credentials", "*", f"public_key = '{key.text}'"),
                (
                    "audit_events",
                    "details ->> 'method', typeof(details), at",
                    f"details LIKE '%{key.text}%'",
                ),
            ):
                picked = await session.execute(text(f"SELECT {columns} FROM {table} WHERE {where}"))  # noqa: S608
                own = (key.text, name, name.replace(".", "%2E"))
                found += [
                    [type(it) if it in own or _is_made(it, key.text) else it for it in row]
                    for row in picked
                ]
        return found

    await office.login(NAME, user_key())
    directly = await written("one@x.com")
    monkeypatch.setattr(office.desk._group, "_sooner", None)
    assert await written("two@x.com") == directly
    assert len(directly) == 4


def _is_made(value: Any, key: str) -> bool:
    """Whether it is an id, or holds one: different each time."""
    return isinstance(value, str) and (
        value[:4] in {"usr_", "crd_", "evt_"} or key in value or len(value) == 52
    )


async def test_a_proof_that_another_process_took(office: Office, transactions: list[int]) -> None:
    key = user_key()
    await office.login(NAME, key)
    other = office.replica()
    transactions.clear()
    proof = Proof(key, secrets.token_hex(8), time.time())
    await other.login(NAME, key, proof=proof)
    before = await rows(office.database, AuditEvent)
    good, replayed = await asyncio.gather(
        office.login("bob@x.com", user_key()),
        office.login(NAME, key, proof=proof),
        return_exceptions=True,
    )
    assert isinstance(replayed, InvalidProof)
    assert not isinstance(good, BaseException)
    assert good.username == "bob@x.com"
    assert transactions == [1]
    assert await rows(office.database, AuditEvent) == before + 2


async def test_a_proof_that_came_before(office: Office, transactions: list[int]) -> None:
    key = user_key()
    await office.login(NAME, key)
    transactions.clear()
    proof = Proof(key, secrets.token_hex(8), time.time())
    await office.login(NAME, key, proof=proof)
    with pytest.raises(InvalidProof):
        await office.login(NAME, key, proof=proof)
    twice = Proof(key, secrets.token_hex(8), time.time())
    both = await asyncio.gather(
        *[office.login(NAME, key, proof=twice) for _ in range(2)], return_exceptions=True
    )
    assert [isinstance(it, InvalidProof) for it in both] == [False, True]
    assert transactions == []


async def test_a_proof_whose_order_failed_is_not_used(office: Office) -> None:
    """Nothing was written, so it may come again."""
    key = user_key()
    await office.login(NAME, key)
    proof = Proof(key, secrets.token_hex(8), time.time())
    before = await rows(office.database, UsedProof)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locked, "write", _fails)
        with pytest.raises(StoreUnavailable):
            await office.login(NAME, key, proof=proof)
    assert await rows(office.database, UsedProof) == before
    await office.login(NAME, key, proof=proof)


async def _fails(*_: object) -> None:
    raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize("at", ["used_proofs", "audit_events", "COMMIT"])
async def test_a_write_that_fails_leaves_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    await office.login(NAME, user_key())
    before = [await rows(office.database, it) for it in (UsedProof, Credential, AuditEvent)]
    real = SqliteDriver.commit

    async def commit(driver: SqliteDriver, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        bad = ("INSERT INTO nowhere VALUES (1)", ())
        place = next((i for i, it in enumerate(statements) if at in it[0]), len(statements))
        await real(driver, [*statements[:place], bad, *statements[place:]])

    with monkeypatch.context() as patch:
        patch.setattr(SqliteDriver, "commit", commit)
        with pytest.raises(StoreUnavailable):
            await office.login("bob@x.com", user_key())
    assert before == [await rows(office.database, it) for it in (UsedProof, Credential, AuditEvent)]
    await office.login("bob@x.com", user_key())


async def test_who_was_revoked_or_failed_before(office: Office, transactions: list[int]) -> None:
    key = user_key()
    await office.login(NAME, key)
    transactions.clear()
    mark = secrets.token_bytes(16)
    await office.login(NAME, key, attempt=mark)
    assert transactions == []
    now = int(time.time())
    async with office.database.writing() as session:
        row = {"mark": mark, "number": 5, "started_at": now, "ends_at": now + 60}
        await session.execute(insert(AttemptCount).values(row))
    with pytest.raises(TooManyRequests):
        await office.login(NAME, key, attempt=mark)
    assert transactions == [1]
    async with office.database.writing() as session:
        await session.execute(update(Credential).values(revoked_at=now))
    with pytest.raises(KeyRevoked):
        await office.login(NAME, key)
    assert transactions == [1]


async def test_grants_are_read(office: Office, transactions: list[int]) -> None:
    key = user_key()
    await office.login(NAME, key)
    transactions.clear()
    async with office.database.writing() as session:
        user = (await session.scalars(select(User))).one()
        user.roles = ["cook"]
        owners: list[dict[str, Any]] = [{"user_id": user.id}, {"role": "cook"}, {"role": "other"}]
        for owner in owners:
            name = owner.get("role") or "own"
            session.add(
                Grant(
                    id=new_id("grt"),
                    publish=[f"granted.{name}"],
                    subscribe=[],
                    created_by="x",
                    created_at=1,
                    **owner,
                )
            )
    jwt = (await office.login(NAME, key)).jwt
    publish = decode_user(jwt).permissions.publish.allow
    assert [it for it in publish if it.startswith("granted")] == ["granted.own", "granted.cook"]
    assert transactions == []


async def test_a_name_with_a_nul_goes_the_long_way(office: Office, transactions: list[int]) -> None:
    """No request has one, but rows are not to be cut whoever comes by."""
    key = user_key()
    await office.login(NAME, key)
    transactions.clear()
    await office.login(NAME, key, label="a\0b")
    assert transactions == [1]
    async with office.database.reading() as session:
        assert (await session.scalars(select(col(Credential.name)))).one() == "a\0b"


async def test_the_event_loop_goes_on_while_sqlite_writes(office: Office) -> None:
    """Rows are written in a thread, so a slow disk delays nobody else."""
    await office.login(NAME, user_key())
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    @event.listens_for(office.database._writer.sync_engine, "checkout")
    def _slow(connection: Any, *_: object) -> None:
        connection.create_function("slow", 0, lambda: time.sleep(0.2))

    real = SqliteDriver.commit

    async def commit(driver: SqliteDriver, statements: Sequence[tuple[str, Sequence[Any]]]) -> None:
        await real(driver, [("SELECT slow()", ()), *statements])

    counting = asyncio.create_task(count())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteDriver, "commit", commit)
        await office.login(NAME, user_key())
    counting.cancel()
    assert turns > 20
