"""How PostgreSQL finds the rows of a batch of logins."""

from __future__ import annotations

from sqlalchemy import Connection, text

from authsvc.server.database import Database
from authsvc.server.sessions.reads import Wanted, take

_WANTED = Wanted(
    marks=(),
    attempts=(),
    now=1,
    public_keys=[f"U{number}" for number in range(16)],
    names=[f"user{number}@example.com" for number in range(16)],
    user_ids=(),
    renewed=(),
)
_READ_WHOLE = text(
    "SELECT sum(seq_scan) FROM pg_stat_xact_user_tables WHERE relname IN ('users', 'credentials')"
)


async def test_rows_are_found_by_indexes_while_there_are_few(postgres_url: str) -> None:
    """The plan stays when there are many; PostgreSQL looks at a table again a minute later."""
    database = Database(postgres_url)
    await database.start()

    def read_whole(connection: Connection) -> int:
        for _ in range(8):  # the sixth time a plan is made that is kept
            take(connection, _WANTED)
        return int(connection.scalar(_READ_WHOLE) or 0)

    try:
        assert await database.transact(read_whole) == 0
    finally:
        await database.stop()
