"""From every released schema, with rows in every table, to the newest; killed on the way too."""

from __future__ import annotations

import sys

import anyio
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from authsvc.server import migrations
from authsvc.server.database import Database
from tests.server.filling import content, fill


def _revisions() -> list[str]:
    with create_engine("sqlite://").connect() as connection:
        script = ScriptDirectory.from_config(migrations.config(connection))
    return sorted(step.revision for step in script.walk_revisions())


RELEASED = _revisions()[:-1]
"""A schema with nothing above it is the newest: there is nothing to upgrade to."""


async def _filled(url: str, revision: str) -> tuple[Database, dict[str, list[str]]]:
    database = Database(url)
    await database._prepare()
    await database._run(lambda connection: migrations.upgrade(connection, revision))

    def rows(connection: Connection) -> None:
        fill(connection)
        # What PostgreSQL numbers itself was given here; what migrations read must be as it was.
        connection.execute(text("UPDATE accounts SET kind = 'people'"))

    await database._run(rows)
    async with database.snapshot() as connection:
        return database, await connection.run_sync(content)


@pytest.mark.parametrize("revision", RELEASED)
async def test_rows_of_every_schema_survive(empty_database_url: str, revision: str) -> None:
    database, before = await _filled(empty_database_url, revision)
    await database.start(migrate=True)
    async with database.snapshot() as connection:
        after = await connection.run_sync(content)
    await database.stop()
    lost = {name for name, rows in before.items() if len(after.get(name, ())) < len(rows)}
    assert lost - {"proof_uses"} == set()  # whose rows became used_proofs
    assert len(before["users"]) == len(after["users"]) > 0


async def test_killed_at_every_statement_it_comes_to_its_end(empty_database_url: str) -> None:
    """Each time it is as it was before, or done: never between."""
    database, before = await _filled(empty_database_url, RELEASED[0])
    await database.stop()
    # Not at each of some hundred statements: each dies in a process of its own.
    done = await anyio.run_process(
        [sys.executable, "-m", "tests.server.migrating", empty_database_url, "17", RELEASED[0]],
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) >= 3
    database = Database(empty_database_url)
    await database.start()
    async with database.snapshot() as connection:
        after = await connection.run_sync(content)
    await database.stop()
    assert len(after["users"]) == len(before["users"])
    assert len(after["used_proofs"]) == len(before["proof_uses"])
