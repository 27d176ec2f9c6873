from __future__ import annotations

import asyncio
import gzip
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, LargeBinary, bindparam, text
from sqlmodel import select

from authsvc.errors import WrongMasterKey
from authsvc.server import engines, migrations
from authsvc.server.audit.verify import verify
from authsvc.server.backup import Reader, write_backup
from authsvc.server.backup.envelope import unseal
from authsvc.server.backup.tables import EXPORTED, LEFT_OUT
from authsvc.server.database import Database
from authsvc.server.keystore import open_keystore
from authsvc.server.models import AuditEvent, Row, User, new_id
from authsvc.server.settings import load
from tests.server.backup.conftest import IDENTITY, Origin, RestoreTo
from tests.server.filling import content, fill


def test_no_table_is_forgotten() -> None:
    """A new table is named in ``EXPORTED``, or in ``LEFT_OUT`` with a reason."""
    assert set(Row.metadata.tables) - EXPORTED - LEFT_OUT.keys() == set()
    assert EXPORTED & LEFT_OUT.keys() == set()
    assert all(LEFT_OUT.values())


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request: pytest.FixtureRequest) -> str:
    """Empty: in the data directory, or on PostgreSQL."""
    if request.param == "sqlite":
        return ""
    return str(request.getfixturevalue("empty_postgres_url"))


async def test_every_row_comes_back(origin: Origin, restore_to: RestoreTo, target_url: str) -> None:
    """From either database to either; events are numbered on."""
    head, sealed = await origin.backup()
    before = await origin.rows()
    settings, restored = await restore_to(sealed, target_url)
    assert restored.head == head
    database = Database(settings.database_url)
    await database.start()
    async with database.snapshot() as connection:
        after = await connection.run_sync(content)
    for name in LEFT_OUT.keys() & after.keys():
        assert after.pop(name) == []
        before.pop(name)
    new = [row for row in after["audit_events"] if row not in before["audit_events"]]
    assert [json.loads(row)["action"] for row in new] == ["backup.restore"]
    after["audit_events"].remove(new[0])
    assert after == before
    assert sum(map(len, before.values())) > 50
    keystore = open_keystore(settings, make=False)
    async with database.reading() as session:
        found = await verify(session, keystore)
        numbers = [row.seq for row in await session.scalars(select(AuditEvent))]
    assert found.ok, found.problems
    assert found.events > 0
    assert len(numbers) == len(set(numbers))
    assert max(filter(None, numbers)) == len(numbers)
    await database.stop()


async def test_one_moment_is_backed_up_while_others_write(
    origin: Origin, restore_to: RestoreTo
) -> None:
    """Each transaction writes two rows: there is never one without the other."""
    stop, begun, written = asyncio.Event(), asyncio.Event(), 0

    async def write() -> None:
        nonlocal written
        while not stop.is_set():
            async with origin.database.writing() as session:
                for name in ("left", "right"):
                    session.add(_user(f"{name}-{written}"))
                    await session.flush()
            written += 1
            begun.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(write())
    await begun.wait()
    heads = [(await origin.backup()) for _ in range(2)]
    stop.set()
    await task
    counts = [head.tables["users"].rows for head, _ in heads]
    assert counts == sorted(counts)
    assert written > counts[-1] / 2 - 3
    settings, _ = await restore_to(heads[-1][1])
    database = Database(settings.database_url)
    async with database.reading() as session:
        names = set(await session.scalars(select(User.username)))
    assert len(names) == counts[-1]
    pairs = {name.partition("-")[2] for name in names if name.startswith(("left-", "right-"))}
    assert all({f"left-{it}", f"right-{it}"} <= names for it in pairs)
    await database.stop()


def _user(name: str) -> User:
    return User(id=new_id("usr"), username=name, token=name, kind="service", created_at=1)


async def test_an_older_schema_is_backed_up_and_comes_back_as_the_newest(
    tmp_path: Path, empty_database_url: str, restore_to: RestoreTo
) -> None:
    """So a backup can be made before the upgrade, by the new program."""
    settings = load(data_dir=tmp_path / "origin", database_url=empty_database_url)
    keystore = open_keystore(settings)
    database = Database(settings.database_url)
    if database.is_sqlite:
        engines.make_private(database._url)
    await database._run(lambda connection: migrations.upgrade(connection, "0001"))
    await database._run(_old_rows)
    file = io.BytesIO()
    head, _ = await write_backup(database, settings, file, [IDENTITY.recipient], now=1)
    assert (head.revision, head.tables["proof_uses"].rows) == ("0001", 3)
    await database.stop()
    target, restored = await restore_to(file.getvalue())
    assert restored.head.master_keys == 1
    assert keystore.newest_id == open_keystore(target, make=False).newest_id
    database = Database(target.database_url)
    await database.start()
    async with database.snapshot() as connection:
        after = await connection.run_sync(content)
    assert len(after["used_proofs"]) == 3
    await database.stop()


def _old_rows(connection: Connection) -> None:
    fill(connection)
    # Nothing here was sealed by a master key.
    seed = bindparam("none", b"", type_=LargeBinary())
    connection.execute(text("UPDATE signing_keys SET sealed_seed = :none").bindparams(seed))
    connection.execute(text("DELETE FROM keystore_checks"))
    connection.execute(text("DELETE FROM operators"))


async def test_without_the_master_key(small: Origin, restore_to: RestoreTo) -> None:
    _, sealed = await small.backup(master_key=False)
    key = (small.settings.data_dir / "master.key").read_text().strip()
    with pytest.raises(WrongMasterKey, match="missing"):
        await restore_to(sealed)
    with pytest.raises(WrongMasterKey, match="AUTHSVC_MASTER_KEY"):
        await restore_to(sealed, master_key="00" * 32)
    settings, restored = await restore_to(sealed, master_key=key)
    assert restored.head.master_keys == 0
    assert not (settings.data_dir / "master.key").exists()


async def test_with_a_master_key_that_opens_nothing_no_backup_is_made(small: Origin) -> None:
    small.settings = small.settings.model_copy(update={"data_dir": small.settings.data_dir / "x"})
    with pytest.raises(WrongMasterKey, match="missing"):
        await small.backup()
    other = open_keystore(small.settings)
    assert other.newest_id != small.keystore.newest_id
    with pytest.raises(WrongMasterKey, match="does not open"):
        await small.backup()


async def test_nothing_is_in_the_clear(small: Origin) -> None:
    """Not in the file; and inside it the seeds are sealed, as in the database."""
    _, sealed = await small.backup()
    key = (small.settings.data_dir / "master.key").read_text().strip()
    inside = gzip.decompress(b"".join(unseal(io.BytesIO(sealed), [IDENTITY])))
    assert inside.count(key.encode()) == 1
    for secret in (key.encode(), b"users.username", b"audit_events", b"OPERATOR"):
        assert secret not in sealed
    assert b"-----BEGIN" not in inside
    seeds = [word for word in inside.split(b'"') if len(word) == 58 and word[:2] in {b"SO", b"SA"}]
    assert seeds == []
    lines = inside.splitlines()
    assert [line[:8] for line in lines[:2]] == [b'{"head":', b'{"master']
    assert b"SECRET" not in lines[0]


async def test_a_backup_is_read_once_to_its_end(small: Origin) -> None:
    head, sealed = await small.backup()
    reader = Reader(io.BytesIO(sealed), [IDENTITY])
    count = sum(1 for _ in reader.rows())
    reader.finish()
    assert reader.ending
    assert count == sum(table.rows for table in head.tables.values())
