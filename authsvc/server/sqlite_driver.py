"""SQLite without SQLAlchemy in between, for a transaction that reads, decides, and then writes.

    async def step(driver: SqliteDriver) -> None:
        await driver.begin()
        rows = driver.fetch("SELECT id FROM users WHERE username = ?", name)
        await driver.commit([("UPDATE users SET token = ? WHERE id = ?", (token, rows[0][0]))])

    await database.converse(step)

SQLAlchemy takes longer over a statement than SQLite does. Reading is quick and done in the event
loop's thread; what writes, and the commit, goes to a thread together: a few statements that each
write many rows, during which SQLite needs no interpreter.

Source: https://www.sqlite.org/json1.html (json_each).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.dialects import sqlite

from authsvc.server import sqlite_inloop, tracing
from authsvc.server.driver import Outrun

__all__ = ["BLOBS", "SQLITE", "SqliteDriver", "bind", "blobs"]

SQLITE: Dialect = sqlite.dialect()
BLOBS = "SELECT substr(?1, value, ?3) FROM json_each(?2)"
"""Rows for a list of blobs of one size, which JSON has no word for; see ``blobs``."""


@cache
def _text(statement: Any) -> tuple[str, tuple[str, ...]]:
    """A statement's text for SQLite's driver, and the names of its parameters in order."""
    compiled = statement.compile(dialect=SQLITE)
    return str(compiled), tuple(compiled.positiontup or ())


def bind(statement: Any, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A statement's text for SQLite's driver, and its parameters.

    Args:
        statement: SQLAlchemy's; it is compiled once.
        values: By name, as the driver takes them.
    """
    text, names = _text(statement)
    return text, [values[name] for name in names]


def blobs(values: Sequence[bytes]) -> tuple[bytes, str, int]:
    """A list of blobs of one size, not an empty one, as the three parameters of ``BLOBS``."""
    size = len(values[0])
    joined = b"".join(values)
    return joined, str([*range(1, len(joined) + 1, size)]), size


class SqliteDriver:
    """The connection that writes.

    Args:
        connection: Of ``sqlite_inloop``, outside a transaction.
        seconds: How long to wait for another process's transaction.
        committed: Is told how many seconds writing took.
    """

    def __init__(self, connection: Any, seconds: float, committed: Callable[[float], None]) -> None:
        self._connection: sqlite3.Connection = connection
        self._seconds = seconds
        self._committed = committed

    async def begin(self) -> None:
        """Take the write lock.

        Raises:
            OperationalError: Another process has had it for too long.
        """
        await sqlite_inloop.begin_immediate(self._connection.execute, self._seconds)

    def fetch(self, text: str, *values: Any) -> list[Any]:
        """All rows of a statement that reads.

        Raises:
            DatabaseError: As sqlite3 reports it.
        """
        with tracing.statement_span(text, "sqlite"):
            return self._connection.execute(text, values).fetchall()

    async def commit(
        self, statements: Iterable[tuple[str, Sequence[Any]]], first: int | None = None
    ) -> None:
        """Run statements, and commit; it is on the disk when this returns.

        Args:
            statements: Each with its parameters.
            first: How many rows the first one has to write, if that matters.

        Raises:
            Outrun: It would have written more or fewer; nothing was written.
            DatabaseError: As sqlite3 reports it; nothing was written.
        """
        took = 0.0

        def write() -> None:
            nonlocal took
            began = time.perf_counter()
            wanted = first
            for text, values in statements:
                rows = self._connection.execute(text, values).rowcount
                if wanted is not None and rows != wanted:
                    raise Outrun(f"{rows} rows instead of {wanted}")
                wanted = None
            sqlite3.Connection.commit(self._connection)
            took = time.perf_counter() - began

        with tracing.statement_span("COMMIT", "sqlite"):
            await sqlite_inloop.in_thread(write)
        self._committed(took)

    def end(self) -> bool:
        """Take back what was begun and not committed; whether the connection may be used again."""
        if self._connection.in_transaction:
            self._connection.rollback()
        return True
