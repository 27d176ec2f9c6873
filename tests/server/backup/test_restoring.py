"""Where a backup goes: an empty place, or what is there is set aside; all of it, or nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from authsvc.errors import Forbidden, StoreUnavailable, Unavailable, WrongMasterKey
from authsvc.server.backup import Options, sources
from authsvc.server.database import Database
from authsvc.server.keystore import open_keystore, replace_master_key
from tests.fixtures.waiting import until
from tests.server.backup.conftest import Origin, RestoreTo

FORCE = Options(force=True)


async def users(url: str) -> int:
    database = Database(url)
    await database.start()
    async with database.reading() as session:
        count = await session.scalar(text("SELECT count(*) FROM users"))
    await database.stop()
    return int(count or 0)


async def sql(database: Database, statement: str) -> None:
    async with database.writing() as session:
        await session.execute(text(statement))


async def test_only_its_files_are_there_and_nobody_else_reads_them(
    sealed: bytes, restore_to: RestoreTo
) -> None:
    settings, _ = await restore_to(sealed)
    names = {it.name: it.stat().st_mode & 0o777 for it in settings.data_dir.iterdir()}
    assert names == {"authsvc.db": 0o600, "master.key": 0o600, "restored.env": 0o600}
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700
    assert "MASTER" not in (settings.data_dir / "restored.env").read_text()


async def test_a_place_that_is_not_empty_is_refused(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    for name in ("master.key", "authsvc.db", "nats", "anything"):
        (target / name).touch()
        with pytest.raises(Forbidden, match=f"not empty.*{name}.*--force"):
            await restore_to(sealed)
        assert [it.name for it in target.iterdir()] == [name]
        (target / name).unlink()
    (target / "lost+found").mkdir()
    await restore_to(sealed)


async def test_what_was_there_is_set_aside(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path
) -> None:
    settings, _ = await restore_to(sealed)
    former = (settings.data_dir / "master.key").read_text()
    (settings.data_dir / "master.key.previous").write_text("x")
    (settings.data_dir / "master.key").write_text("another\n")
    with sqlite3.connect(settings.data_dir / "authsvc.db") as connection:
        connection.execute("DELETE FROM users")
    connection.close()
    _, restored = await restore_to(sealed, options=FORCE)
    assert (settings.data_dir / "master.key").read_text() == former
    assert not (settings.data_dir / "master.key.previous").exists()
    aside = {it.name.partition(".before-")[0]: it for it in restored.aside}
    assert set(aside) == {"authsvc.db", "master.key", "master.key.previous", "restored.env"}
    assert aside["master.key"].read_text() == "another\n"
    assert await users(settings.database_url) == 3
    assert await users(f"sqlite:///{aside['authsvc.db']}") == 0


async def test_both_master_keys_of_an_unfinished_change_come_back(
    small: Origin, restore_to: RestoreTo
) -> None:
    assert replace_master_key(small.settings)
    head, sealed = await small.backup()
    assert head.master_keys == 2
    settings, _ = await restore_to(sealed)
    for name in ("master.key", "master.key.previous"):
        there = (settings.data_dir / name).read_text()
        assert there == (small.settings.data_dir / name).read_text()
    assert open_keystore(settings, make=False).newest_id


async def test_a_postgresql_database_that_is_not_empty_is_refused(
    sealed: bytes, restore_to: RestoreTo, postgres_url: str, tmp_path: Path
) -> None:
    """A schema alone is nothing; other programs' tables stay."""
    database = Database(postgres_url)
    await sql(database, "CREATE TABLE others (id int)")
    await sql(database, "INSERT INTO others VALUES (1)")
    settings, _ = await restore_to(sealed, postgres_url)
    assert {it.name for it in settings.data_dir.iterdir()} == {"master.key", "restored.env"}
    await sql(database, "DELETE FROM users WHERE id LIKE '%0'")
    fewer = await users(postgres_url)
    other = tmp_path / "other"
    with pytest.raises(Forbidden, match=r"database is not empty.*--force"):
        await restore_to(sealed, postgres_url, data_dir=other)
    wrong = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(ValueError, match="changed"):
        await restore_to(wrong, postgres_url, FORCE, data_dir=other)
    assert (await users(postgres_url), other.exists()) == (fewer, False)
    await restore_to(sealed, postgres_url, FORCE, data_dir=other)
    assert await users(postgres_url) == fewer + 1
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM others")) == 1
    await database.stop()


async def test_what_fails_late_leaves_nothing(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CONNECT_SECONDS", 0.2)
    for error, options, more in (
        (WrongMasterKey, Options(), {"master_key": "11" * 32}),
        (Unavailable, Options(merge_from=["nats://127.0.0.1:1"]), {}),
        (StoreUnavailable, Options(), {"database_url": "postgresql://x@127.0.0.1:1/x"}),
    ):
        with pytest.raises(error):
            await restore_to(sealed, options=options, **more)
        assert not (tmp_path / "target").exists()
    _, restored = await restore_to(sealed, nats_urls="nats://127.0.0.1:1")
    assert "127.0.0.1:1" in str(restored.unasked)


async def test_a_service_that_runs_is_not_pulled_from_under(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path
) -> None:
    settings, _ = await restore_to(sealed)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    context = settings.data_dir / "context.json"
    context.write_text(f'{{"url": "http://127.0.0.1:{port}"}}')
    with pytest.raises(Forbidden, match="stop it first"):
        await restore_to(sealed, options=FORCE)
    server.close()
    await server.wait_closed()
    await restore_to(sealed, options=FORCE)
    context.write_text("[]")
    await restore_to(sealed, options=FORCE)


_KILLED = """
import asyncio, sys, time
from pathlib import Path
from authsvc.server.backup import Identity, Options, restore
from authsvc.server.backup.target import Target
from authsvc.server.settings import load
commit = Target.commit
def slowly(self):
    print("staged", flush=True)
    time.sleep(60)
Target.commit = slowly
settings = load(data_dir=Path(sys.argv[2]))
with open(sys.argv[1], "rb") as file:
    asyncio.run(restore(file, [Identity(bytes(range(32)))], settings, Options(), now=time.time()))
"""


async def test_killed_before_its_end_it_leaves_nothing_that_starts(
    sealed: bytes, restore_to: RestoreTo, tmp_path: Path
) -> None:
    """And the next one needs no --force, and sweeps."""
    file, target = tmp_path / "file.age", tmp_path / "target"
    file.write_bytes(sealed)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _KILLED, str(file), str(target)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"staged\n"
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]
    await until(lambda: process.returncode is not None)
    left = [it.name for it in target.iterdir()]
    assert left
    assert all(".restoring-" in name and name.startswith(".") for name in left), left
    settings, _ = await restore_to(sealed)
    assert {it.name for it in settings.data_dir.iterdir()} == {
        "authsvc.db",
        "master.key",
        "restored.env",
    }
    assert time.time() - settings.data_dir.stat().st_mtime < 60
