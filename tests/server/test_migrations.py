from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, select, text
from sqlmodel import col

from authsvc.errors import StartRefused
from authsvc.server import engines, migrations
from authsvc.server.database import Database, migrate
from authsvc.server.models import Grant, Mailbox, Row, SigningKey, UsedProof, User, key_slot

OLD_ROWS = """
INSERT INTO accounts VALUES ('acc_1', 'people', 'people', 'A1', '', 0, 0, 0, 1);
INSERT INTO users (id, username, token, kind, roles, created_at)
VALUES ('usr_1', 'a@x', 'a@x', 'email', '[]', 1);
INSERT INTO grants
(id, user_id, publish, subscribe, dangerous, note, created_by, created_at)
VALUES ('grt_1', 'usr_1', '[]', '[]', false, '', 'me', 1);
INSERT INTO apps VALUES ('app_1', 'usr_1', 'chat', 'chat', true, 5),
('app_2', 'usr_1', 'live', 'live', false, 4);
INSERT INTO proof_uses VALUES (DIGEST, 7);
INSERT INTO signing_keys
(id, public_key, owner, account_id, purpose, name, sealed_seed, state, created_at)
VALUES ('key_1', 'A2', 'account', 'acc_1', 'signing', 'k', '', 'active', 1),
('key_2', 'O1', 'operator', NULL, 'identity', 'o', '', 'active', 1)
"""


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Row.metadata))


async def test_models_and_migrations_agree(database: Database) -> None:
    async with database.reading() as session:
        connection = await session.connection()
        assert await connection.run_sync(_differences) == []


async def test_a_difference_would_be_found(database: Database) -> None:
    async with database.writing() as session:
        await session.execute(text("DROP TABLE apps"))
    async with database.reading() as session:
        connection = await session.connection()
        assert await connection.run_sync(_differences) != []


async def test_constraints_have_the_names_of_the_convention(database: Database) -> None:
    wanted = {
        str(constraint.name)
        for table in Row.metadata.tables.values()
        for constraint in table.constraints
    }
    if database.is_sqlite:
        query = "SELECT group_concat(sql) FROM sqlite_master"
    else:
        query = "SELECT string_agg(conname, ',') FROM pg_constraint"
    async with database.reading() as session:
        present = str(await session.scalar(text(query)))
    assert [name for name in wanted if name not in present] == []
    assert wanted


async def test_an_empty_database_is_migrated_and_then_starts(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(StartRefused, match="authsvc db upgrade"):
        await database.start()
    await database.start(migrate=True)
    await database.start()
    await database.stop()


async def test_several_may_migrate_at_once(empty_database_url: str) -> None:
    await asyncio.gather(*[migrate(empty_database_url) for _ in range(6)])
    database = Database(empty_database_url)
    await database.start()
    await database.stop()


async def test_a_newer_database_is_refused(database_url: str) -> None:
    database = Database(database_url)
    async with database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for migrate_first in (False, True):
        with pytest.raises(StartRefused, match=r"newer authsvc.*9999.*restore the backup"):
            await database.start(migrate=migrate_first)
    await database.stop()


async def test_what_was_there_before_0002_stays(empty_database_url: str) -> None:
    """Rows of the first schema survive, with what belongs to them."""
    database = Database(empty_database_url)
    if database.is_sqlite:
        engines.make_private(database._url)
        await database._run(engines.enter_wal, begin=False)
    await database._run(lambda connection: migrations.upgrade(connection, "0001"))
    async with database.writing() as session:
        for statement in OLD_ROWS.split(";"):
            digest = "X'" if database.is_sqlite else "'\\x"
            await session.execute(text(statement.replace("DIGEST", f"{digest}{'ab' * 32}'")))
    await database.start(migrate=True)
    async with database.reading() as session:
        assert (await session.get_one(User, "usr_1")).version == 1
        assert await session.get(Grant, "grt_1") is not None
        assert await session.get(UsedProof, bytes(7) + b"\x07" + b"\xab" * 16) is not None
        mailbox = await session.get_one(Mailbox, "usr_1")
        assert (mailbox.max_age, mailbox.max_pending, mailbox.created_at) == (604800, 1000, 5)
        assert mailbox.applied < mailbox.revision
        keys = await session.scalars(select(SigningKey).order_by(col(SigningKey.id)))
        found = [(key.slot, key.generation) for key in keys]
    assert found == [
        (key_slot("account", "signing", "acc_1"), 1),
        (key_slot("operator", "identity", None), 1),
    ]
    await database.stop()


async def test_a_schema_that_no_version_left_is_named(database_url: str) -> None:
    """Half of a migration, as a restore that was broken off leaves it."""
    database = Database(database_url)
    async with database.writing() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(StartRefused, match=r"at 0001.*stopped halfway.*restore the last backup"):
        await database.start(migrate=True)
    async with database.writing() as session:
        await session.execute(text("DELETE FROM alembic_version"))
    for migrate_first in (False, True):
        with pytest.raises(StartRefused, match=r"not say of which version.*stopped halfway"):
            await database.start(migrate=migrate_first)
    await database.stop()


async def test_differences_are_said_in_a_few_words(database: Database) -> None:
    async with database.writing() as session:
        connection = await session.connection()
        assert await connection.run_sync(migrations.differences) == []
        await session.execute(text("DROP TABLE dead_keys"))
        await session.execute(text("ALTER TABLE users DROP COLUMN max_payload"))
        found = await connection.run_sync(migrations.differences)
    assert [it for it in found if "index" not in it] == [
        "add_column users.max_payload",
        "add_table dead_keys",
    ]


def test_revisions_are_those_that_alembic_finds() -> None:
    script = ScriptDirectory.from_config(migrations.config())
    found = [step.revision for step in script.walk_revisions()]
    assert migrations.revisions() == tuple(reversed(found))


def test_a_schema_as_it_should_be_needs_no_alembic(sqlite_url: str) -> None:
    code = (
        "import asyncio, sys\n"
        "from authsvc.server.database import Database\n"
        "async def go():\n"
        "    database = Database(sys.argv[1])\n"
        "    await database.start(migrate=True)\n"
        "    await database.stop()\n"
        "asyncio.run(go())\n"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, sqlite_url], check=True, timeout=60)
