"""A SQLAlchemy dialect for SQLite that runs statements in the event loop's own thread.

The usual way hands every call to a thread: about ten hand-overs in a transaction, each dearer
than the statement that it carries. SQLite writes into memory until it commits; only then does
it wait for the disk. So here only COMMIT goes to a thread, and waiting for another process's
write lock is a sleep in the loop.

It fits short statements, such as a transaction of a few inserts. What may read much belongs on
an ordinary engine.

Source: https://docs.sqlalchemy.org/en/latest/dialects/sqlite.html (transactions),
https://www.sqlite.org/threadsafe.html (serialized mode).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

from sqlalchemy import URL, Pool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.util import await_only

__all__ = ["DRIVER", "begin_immediate", "dialect", "in_thread"]

DRIVER = "sqlite+inloop"
_FIRST_SLEEP_SECONDS = 0.001
_LONGEST_SLEEP_SECONDS = 0.05


class _Cursor(sqlite3.Cursor):
    """A cursor that SQLAlchemy's async results can let go of."""

    async def _async_soft_close(self) -> None:
        """The rows are in memory and nothing has to be awaited."""


class _Connection(sqlite3.Connection):
    """A connection whose commit waits for the disk in a thread."""

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def commit(self) -> None:
        if not self.in_transaction:
            return
        try:
            await_only(in_thread(super().commit))
        except BaseException:
            # SQLite keeps the transaction of a commit that failed, and SQLAlchemy, which takes
            # it for ended, would begin the next one inside it.
            if self.in_transaction:
                self.rollback()
            raise


async def in_thread(work: Callable[[], None]) -> None:
    """Run what takes SQLite long in a thread; it is done when this returns, whatever happens.

    Raises:
        Exception: What ``work`` raises.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            # The thread can't be stopped, and the connection is its own until it is done.
            cancelled = error
        except sqlite3.Error:
            break
    if cancelled is not None:
        raise cancelled
    future.result()


class dialect(SQLiteDialect_pysqlite):  # noqa: N801 - SQLAlchemy's registry asks for this name
    """``sqlite+inloop``: what create_async_engine needs to know."""

    driver = "inloop"
    supports_statement_cache = True
    is_async = True

    @classmethod
    def get_pool_class(cls, _url: URL) -> type[Pool]:
        """A pool whose waiters wait in the event loop."""
        return AsyncAdaptedQueuePool

    def create_connect_args(self, url: URL) -> tuple[Any, Any]:
        """sqlite3's arguments: our connection, and no blocking wait for locks."""
        arguments, options = super().create_connect_args(url)
        own = {"factory": _Connection, "check_same_thread": False, "timeout": 0}
        return arguments, {**options, **own}


registry.register("sqlite.inloop", __name__, "dialect")


async def begin_immediate(execute: Callable[[str], Any], seconds: float) -> None:
    """Take the write lock, waiting for other processes without blocking the event loop.

    Args:
        execute: Runs a statement on a connection of this dialect, outside a transaction.
        seconds: How long to wait.

    Raises:
        OperationalError: Another process has had it for longer.
    """
    pause, waited = _FIRST_SLEEP_SECONDS, 0.0
    while True:
        try:
            execute("BEGIN IMMEDIATE")
        except (OperationalError, sqlite3.OperationalError) as error:
            code = getattr(getattr(error, "orig", error), "sqlite_errorcode", None)
            if code is None or code & 0xFF != sqlite3.SQLITE_BUSY or waited >= seconds:
                raise
        else:
            return
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 2, _LONGEST_SLEEP_SECONDS)
