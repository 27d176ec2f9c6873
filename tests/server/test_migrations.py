from __future__ import annotations

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from authsvc.errors import StartRefused
from authsvc.server.database import Database, migrate
from authsvc.server.models import Row


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
    with pytest.raises(StartRefused, match="authsvc db migrate"):
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
