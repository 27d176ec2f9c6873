"""Engines for the two databases: URLs, pragmas, drivers' errors.

Sources: https://www.sqlite.org/pragma.html, https://www.sqlite.org/wal.html,
https://www.postgresql.org/docs/current/errcodes-appendix.html, tcp(7).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import orjson
from sqlalchemy import URL, event, exc, make_url
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only

from authsvc.errors import StartRefused, StoreUnavailable
from authsvc.server import sqlite_inloop

__all__ = [
    "BUSY_SECONDS",
    "insert_into",
    "lost_race",
    "make_private",
    "parse_url",
    "postgresql",
    "sqlite_reader",
    "sqlite_writer",
    "store_errors",
]

BUSY_SECONDS = 5.0
"""How long a transaction on SQLite waits for another process's."""
CONNECT_SECONDS = 5.0
NETWORK_SECONDS = 20
"""After which a connection is given up whose other end acknowledges nothing, idle or not, for which
TCP takes a quarter of an hour or two. A server that is there may take longer for a statement."""
POOL_SIZE = 10
POOL_SECONDS = 5.0
"""How long a transaction waits for a free connection."""

# A plan is kept. Made while a table is small it would read all of it, and do so for thousands. And
# where lists are parameters PostgreSQL would plan each time anew, which takes longer than to run.
_PLANS = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan"
# Classes of SQLSTATE that tell about the server and not about the statement: connection, lack of
# resources, operator intervention, system error, internal error, a read-only server, and a
# transaction that lost against another.
_SQLSTATES = ("08", "53", "57", "58", "XX", "25006", "40")


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the drivers' "not now" into StoreUnavailable; everything else passes."""
    try:
        yield
    except Exception as error:
        if not _is_unavailable(error):
            raise
        cause = getattr(error, "orig", None) or error
        line = str(cause).partition("\n")[0] or type(cause).__name__
        raise StoreUnavailable(f"the database can't be used: {line}") from error


def _is_unavailable(error: Exception) -> bool:
    if isinstance(error, exc.DBAPIError):
        if error.connection_invalidated or isinstance(
            error, exc.OperationalError | exc.InterfaceError | exc.InternalError
        ):
            return True
        if error.statement is None and not isinstance(error, exc.IntegrityError):
            return True  # while connecting or committing: no statement of ours can be at fault
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            # sqlite3: "file is not a database" and the like are a bare DatabaseError.
            return type(error) is exc.DatabaseError
        return str(state).startswith(_SQLSTATES)
    # While connecting nothing wraps the drivers' own errors.
    if isinstance(error, OSError):
        return _comes_from_driver(error)
    return isinstance(
        error,
        exc.TimeoutError | sqlite3.DatabaseError | asyncpg.PostgresError | asyncpg.InterfaceError,
    ) and not isinstance(error, sqlite3.IntegrityError)


def lost_race(error: BaseException | None) -> bool:
    """Whether a transaction failed only because another one was quicker."""
    if isinstance(error, exc.IntegrityError):
        return True
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return str(state).startswith("40")  # rolled back: a deadlock, a serialization failure


def _comes_from_driver(error: Exception) -> bool:
    """Whether a driver raised it, and not something else that is done in a transaction."""
    step = error.__traceback__
    while step is not None:
        if str(step.tb_frame.f_globals.get("__name__")).startswith(("asyncpg.", "sqlalchemy.")):
            return True
        step = step.tb_next
    return False


def insert_into(connection: Connection, table: Any) -> Any:
    """An INSERT of the connection's own kind of database, which knows ``ON CONFLICT``."""
    kind = insert_postgresql if connection.dialect.name == "postgresql" else insert_sqlite
    return kind(table)


def parse_url(text: str) -> URL:
    """The URL with the driver that this service uses.

    Raises:
        StartRefused: It names no SQLite file and no PostgreSQL server.
    """
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise StartRefused(
            "AUTHSVC_DATABASE_URL is no database URL: sqlite:////path/to/file.db or "
            "postgresql://user:password@host/name is needed"
        ) from None
    match url.get_backend_name():
        case "sqlite":
            if not url.database or url.database == ":memory:" or url.query:
                raise StartRefused("AUTHSVC_DATABASE_URL: SQLite needs a file, and no options")
            return url.set(drivername="sqlite+aiosqlite")
        case "postgresql" | "postgres":
            query = dict(url.query)
            if "sslmode" in query:  # libpq's word for what asyncpg calls ssl
                query["ssl"] = query.pop("sslmode")
            return url.set(drivername="postgresql+asyncpg", query=query)
        case other:
            raise StartRefused(
                f"AUTHSVC_DATABASE_URL: {other} is not supported, SQLite and PostgreSQL are"
            )


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """One that notices when its network is gone."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        bound_silence(transport.get_extra_info("socket"))


def bound_silence(sock: socket.socket) -> None:
    """Let a connection end that gets no acknowledgement for ``NETWORK_SECONDS``, if it is TCP."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or sys.platform != "linux":
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, NETWORK_SECONDS // 2))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, NETWORK_SECONDS // 4))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, NETWORK_SECONDS * 1000)


def postgresql(url: URL) -> AsyncEngine:
    """An engine for PostgreSQL; its synchronous_commit stays what the server says."""
    arguments: dict[str, Any] = {"timeout": CONNECT_SECONDS, "connection_class": _Connection}
    if "ssl" not in url.query and all(map(_is_local, _hosts(url))):
        # asyncpg would first ask for TLS, and read client certificates from the home directory.
        arguments["ssl"] = False
    engine = create_async_engine(
        url,
        connect_args=arguments,
        hide_parameters=True,  # they would stand in the log with every failure
        pool_size=POOL_SIZE,
        pool_timeout=POOL_SECONDS,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _keep_plans(connection: Any, _record: object) -> None:
        connection.run_async(lambda driver: driver.execute(_PLANS))

    return engine


def _hosts(url: URL) -> list[str | None]:
    """Of all servers that a URL names: one, or several as ``?host=a:5432&host=b:5432``."""
    several = url.query.get("host", ())
    named = (several,) if isinstance(several, str) else several
    found: list[str | None] = [part.rpartition(":")[0] or part for part in named]
    return [url.host, *found] if url.host or not found else found


def _is_local(host: str | None) -> bool:
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def sqlite_writer(url: URL) -> AsyncEngine:
    """An engine with the one connection that writes to a SQLite file."""
    engine = _sqlite(url.set(drivername=sqlite_inloop.DRIVER), {}, pool_size=1)

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        # The write lock at once: a transaction that reads first could find it taken later.
        await_only(sqlite_inloop.begin_immediate(connection.exec_driver_sql, BUSY_SECONDS))

    return engine


def sqlite_reader(url: URL) -> AsyncEngine:
    """An engine with several connections that only read a SQLite file, each with a thread."""
    engine = _sqlite(url, {"timeout": BUSY_SECONDS}, pool_size=POOL_SIZE)

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine.sync_engine, "connect")
    def _only_read(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    return engine


def _sqlite(url: URL, arguments: dict[str, Any], pool_size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        connect_args=arguments,
        hide_parameters=True,  # they would stand in the log with every failure
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS + POOL_SECONDS,
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        # Without this sqlite3 begins transactions when it thinks fit, and none for DDL.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")
        # What a statement of many rows needs to be taken back would be a file each time.
        cursor.execute("PRAGMA temp_store=MEMORY")
        # 16 MiB between checkpoints: pages that are written again and again are copied once.
        cursor.execute("PRAGMA wal_autocheckpoint=4000")
        cursor.close()

    return engine


def make_private(url: URL) -> None:
    """Make the SQLite file, readable by nobody else, and its folder.

    Raises:
        StartRefused: It can't be made.
    """
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StartRefused(f"the database file {path} can't be made: {error.strerror}") from None


def enter_wal(connection: Connection) -> None:
    """Switch a SQLite file to write-ahead logging; it stays so.

    Args:
        connection: Of the engine that writes, not in a transaction.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    # Not through SQLAlchemy's execution, which would begin a transaction.
    cursor = connection.connection.cursor()
    try:
        while True:
            try:
                cursor.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError:
                # Another process may be switching it this moment; SQLite doesn't wait for that.
                if time.monotonic() > deadline:
                    raise
                await_only(asyncio.sleep(0.01))
            else:
                return
    finally:
        cursor.close()
