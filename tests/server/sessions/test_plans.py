"""How PostgreSQL finds the rows of a batch of logins."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, UniqueConstraint, text

from authsvc.server.database import Database
from authsvc.server.driver import Driver
from authsvc.server.models import Credential
from authsvc.server.sessions.optimistic import look, write
from authsvc.server.sessions.reads import take
from authsvc.server.sessions.rows import Book
from authsvc.server.sessions.states import ISSUED_COLUMNS
from authsvc.server.sessions.wanted import Wanted
from tests.server.sessions.office import Office, user_key


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


_WANTED = Wanted(
    marks=(),
    doubtful=(),
    attempts=(),
    now=1,
    public_keys=[f"U{number}" for number in range(16)],
    names=[f"user{number}@example.com" for number in range(16)],
    user_ids=(),
    renewed=(),
)
_READ_WHOLE = (
    "SELECT sum(seq_scan) FROM pg_stat_xact_user_tables "
    "WHERE relname IN ('users', 'credentials', 'used_proofs')"
)


async def test_rows_are_found_by_indexes_while_there_are_few(postgres_url: str) -> None:
    """The plan stays when there are many; PostgreSQL looks at a table again a minute later."""
    database = Database(postgres_url)
    await database.start()

    def read_whole(connection: Connection) -> int:
        for _ in range(8):  # the sixth time a plan is made that is kept
            take(connection, _WANTED)
        return int(connection.scalar(text(_READ_WHOLE)) or 0)

    try:
        assert await database.transact(read_whole) == 0
    finally:
        await database.stop()


async def test_so_they_are_without_locks(office: Office) -> None:
    await office.everybody([user_key() for _ in range(16)])

    async def read_whole(driver: Driver) -> int:
        await driver.fetch("BEGIN")  # statistics of a transaction are there at once
        for _ in range(8):
            seen = await look(driver, _WANTED, office.signing.account_id)
            await write(driver, seen, [], Book({}, {}, []).parts())
        ((number,),) = await driver.fetch(_READ_WHOLE)
        await driver.fetch("ROLLBACK")
        return int(number or 0)

    assert await office.database.converse(read_whole) == 0


def test_no_index_holds_what_a_login_changes() -> None:
    """PostgreSQL would write all indexes of the row with each login (and so it did)."""
    table = Credential.__table__  # type: ignore[attr-defined]
    unique = [it for it in table.constraints if isinstance(it, UniqueConstraint)]
    held = {column.name for it in (*table.indexes, *unique) for column in it.columns}
    assert {"user_id", "public_key", "created_at"} <= held
    assert not held & set(ISSUED_COLUMNS)
