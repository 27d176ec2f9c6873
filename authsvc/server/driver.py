"""PostgreSQL without SQLAlchemy in between, where a statement is a transaction of its own.

    async def step(driver: Driver) -> list[Record]:
        return await driver.fetch("SELECT id FROM users WHERE username = ANY($1::text[])", names)

    await database.converse(step)

SQLAlchemy takes longer over a statement than PostgreSQL does over one that finds rows by their
keys. The connections are those of its pool.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine import Dialect

from authsvc.server import tracing

__all__ = ["Driver", "Outrun"]

# A constraint, a deadlock, and a text that is no number: so a statement ends itself.
_LOST = ("23", "40", "22P02")


class Outrun(Exception):
    """Another transaction was quicker; this statement has written nothing."""


class Driver:
    """A connection of asyncpg's.

    Args:
        connection: asyncpg's.
        dialect: Which turns values into the driver's.
    """

    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._connection = connection
        self.dialect = dialect
        self._broken = False
        """Whether a statement ended in a way after which the connection is not to be used."""

    async def fetch(self, text: str, *values: Any) -> Sequence[Any]:
        """Run a statement; it is committed when this returns.

        Args:
            text: With ``$1`` and so on.
            values: The parameters.

        Raises:
            Outrun: Another transaction was quicker.
            PostgresError: As asyncpg reports it; InterfaceError and OSError too.
        """
        try:
            with tracing.statement_span(text, "postgresql"):
                rows: Sequence[Any] = await self._connection.fetch(text, *values)
                return rows
        except asyncpg.PostgresError as error:
            if str(error.sqlstate).startswith(_LOST):
                raise Outrun(str(error)) from error
            self._broken = True
            raise
        except asyncpg.InternalClientError as error:
            # What it says where the connection ended between two statements.
            self._broken = True
            raise asyncpg.InterfaceError("the connection is closed") from error
        except BaseException:  # cancelled, or the connection is gone
            self._broken = True
            raise

    def end(self) -> bool:
        """Whether the connection may be used again."""
        return not self._broken
