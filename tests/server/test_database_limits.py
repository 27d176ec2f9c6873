from __future__ import annotations

import asyncio
import socket
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from authsvc.errors import StartRefused, StoreUnavailable
from authsvc.server import engines
from authsvc.server.database import Database
from authsvc.server.group_commit import GroupCommit
from authsvc.server.models import App, UsedProof
from tests.fixtures.ports import free_port


def _insert(connection: Connection, orders: list[bytes]) -> Sequence[bytes | Exception]:
    connection.execute(insert(UsedProof), [{"mark": x} for x in orders])
    return orders


async def _digests(database: Database) -> set[bytes]:
    async with database.reading() as session:
        return set(await session.scalars(select(UsedProof.mark)))


async def _end_other_backends(url: str) -> None:
    other = Database(url)
    async with other.writing() as session:
        await session.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    await other.stop()


async def test_a_connection_that_breaks_is_unavailable_and_replaced(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()

    async def lose_the_connection() -> None:
        async with database.writing() as session:
            await session.execute(text("SELECT 1"))
            await _end_other_backends(postgres_url)
            await session.execute(text("SELECT 1"))

    with pytest.raises(StoreUnavailable):
        await lose_the_connection()
    group = GroupCommit(database, _insert)
    assert await group.submit(b"a") == b"a"
    await _end_other_backends(postgres_url)
    with pytest.raises(StoreUnavailable):
        await group.submit(b"b")
    assert await group.submit(b"c") == b"c"
    assert await _digests(database) == {b"a", b"c"}
    await group.stop()
    await database.stop()


async def test_nobody_at_the_address_is_unavailable() -> None:
    database = Database(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(StoreUnavailable, match="can't be used"):
        await database.start()
    await database.stop()


async def test_a_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authsvc.server.engines.CONNECT_SECONDS", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        database = Database(f"postgresql://nobody@127.0.0.1:{deaf.getsockname()[1]}/none")
        with pytest.raises(StoreUnavailable):
            await database.start()
        await database.stop()


async def test_an_unknown_postgresql_database_is_unavailable(postgres_url: str) -> None:
    database = Database(postgres_url + "_not")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await database.start()
    await database.stop()


async def test_sqlite_waits_for_another_process_and_gives_up_in_time(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(sqlite_url)
    await database.start()
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        group = GroupCommit(database, _insert)
        task = asyncio.create_task(group.submit(b"a"))
        await asyncio.sleep(0.2)
        assert not task.done()
        other.execute("COMMIT")
        assert await task == b"a"
        monkeypatch.setattr("authsvc.server.engines.BUSY_SECONDS", 0.1)
        other.execute("BEGIN IMMEDIATE")
        outcomes = await asyncio.gather(
            *[group.submit(bytes([number])) for number in range(3)], return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
        other.execute("ROLLBACK")
    other.close()
    assert await group.submit(b"b") == b"b"
    await group.stop()
    await database.stop()


async def test_sqlite_is_durable_and_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "authsvc.db"
    database = Database(f"sqlite:///{path}")
    await database.start(migrate=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for transaction in (database.reading, database.writing):
        async with transaction() as session:
            for name, wanted in pragmas.items():
                assert await session.scalar(text(f"PRAGMA {name}")) == wanted
    await database.stop()


async def test_postgresql_commits_to_the_disk(postgres_url: str) -> None:
    database = Database(postgres_url)
    async with database.writing() as session:
        assert await session.scalar(text("SHOW synchronous_commit")) == "on"
        assert await session.scalar(text("SHOW fsync")) == "on"
    await database.stop()


async def test_reading_on_sqlite_never_writes(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await database.start()
    with pytest.raises(StoreUnavailable, match="readonly"):
        async with database.reading() as session:
            await session.execute(text("DELETE FROM users"))
    await database.stop()


async def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "authsvc.db"
    path.write_bytes(b"no database " * 1000)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable, match="not a database"):
        await database.start()
    await database.stop()


async def test_a_file_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path / 'file' / 'authsvc.db'}")
    with pytest.raises(StartRefused, match="can't be made"):
        await database.start()
    await database.stop()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://x/y", "sqlite:///a?mode=ro"]
)
def test_urls_that_can_not_be_used_are_refused(url: str) -> None:
    with pytest.raises(StartRefused, match="AUTHSVC_DATABASE_URL"):
        Database(url)


def test_the_password_is_not_shown() -> None:
    database = Database("postgresql://me:hunter2@127.0.0.1/x?sslmode=require")
    assert "hunter2" not in repr(database)
    assert "ssl=require" in repr(database)


async def test_a_commit_that_fails_is_rolled_back(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await database.start()

    async def break_a_reference() -> None:
        async with database.writing() as session:
            await session.execute(text("PRAGMA defer_foreign_keys=ON"))
            session.add(App(id="a", user_id="nobody", name="x", token="x", created_at=1))
            await session.flush()

    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        await break_a_reference()
    async with database.writing() as session:
        assert (await session.scalars(select(App))).all() == []
    await database.stop()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (None, True),
        ("/run/postgresql", True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("db.example", False),
    ],
)
def test_tls_is_left_out_on_this_machine_alone(host: str | None, local: bool) -> None:  # noqa: FBT001
    assert engines._is_local(host) is local
