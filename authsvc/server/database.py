"""The database: its connections, transactions and migrations.

    database = Database(settings.database_url)
    await database.start(migrate=True)
    async with database.reading() as session: ...
    async with database.writing() as session: ...      # commits at its end

What a driver reports as "can't be reached", "locked", "disk full" and the like comes out as
StoreUnavailable; mistakes of our own (a constraint, a statement) come out as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, QueuePool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.util import greenlet_spawn

from authsvc.errors import StoreUnavailable
from authsvc.server import engines, metrics, migrations, tracing
from authsvc.server.driver import Driver
from authsvc.server.engines import store_errors
from authsvc.server.sqlite_driver import SqliteDriver

__all__ = ["Database", "migrate"]

Result = TypeVar("Result")

_KEPT_SECONDS = 1.0
_QUICKER, _SLOWER = 0.3, 0.05
"""What a measurement weighs."""
_READING, _WRITING = (metrics.TRANSACTION_SECONDS.labels(kind) for kind in ("read", "write"))


class Database:
    """One database: its connections and its transactions.

    Args:
        url: ``sqlite+aiosqlite:///path`` or ``postgresql+asyncpg://...``; the short forms
            ``sqlite:///`` and ``postgresql://`` are understood too.

    Raises:
        StartRefused: The URL names no file or no server that can be used.
    """

    def __init__(self, url: str) -> None:
        self._url = engines.parse_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self._writer = engines.sqlite_writer(self._url)
            self._reader = engines.sqlite_reader(self._url)
        else:
            self._writer = self._reader = engines.postgresql(self._url)
        for engine in {self._writer, self._reader}:
            tracing.trace_database(engine.sync_engine, self._url.get_backend_name())
        self.commit_seconds = 0.0
        """What writing to SQLite's disk took lately."""
        self._kept: Any = None
        """A connection that was used a moment ago, and is not the pool's again yet."""
        self._keeping: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Future[None] | None = None
        self._stopped = False
        self._failed = False
        """Whether the last transaction that was to write could not."""

    def __repr__(self) -> str:
        return f"Database({self._url.render_as_string(hide_password=True)})"

    async def start(self, *, migrate: bool = False) -> None:
        """Connect and look at the schema.

        Args:
            migrate: Whether to bring an older schema to the newest revision first.

        Raises:
            StartRefused: The schema is newer than this program, or older and not to be migrated;
                or the SQLite file can't be made.
            StoreUnavailable: The database can't be reached.
        """
        step = migrations.upgrade if migrate else migrations.check
        await self._prepare()
        await self._run(step)

    async def _prepare(self) -> None:
        if self.is_sqlite:
            engines.make_private(self._url)
            await self._run(engines.enter_wal, begin=False)

    async def _run(self, step: Callable[[Connection], None], *, begin: bool = True) -> None:
        with store_errors():
            async with self._writer.connect() as connection:
                if begin:
                    await connection.begin()
                await connection.run_sync(step)
                if begin:
                    await connection.commit()

    async def stop(self) -> None:
        """Close all connections."""
        self._stopped = True
        if self._keeping is not None:
            self._keeping.cancel()
            self._let_go()
        if self._leaving is not None:
            await self._leaving
        await self._writer.dispose()
        if self._reader is not self._writer:
            await self._reader.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A session over one consistent snapshot or, on PostgreSQL, over what is committed.

        Raises:
            StoreUnavailable: The database can't be used now.
        """
        with _READING.time(), store_errors():
            async with AsyncSession(self._reader, expire_on_commit=False) as session:
                yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A session whose transaction is committed at the end, or rolled back on an exception.

        Raises:
            StoreUnavailable: The database can't be used now; nothing was written, or, when the
                connection broke while committing, it is not known.
        """
        with self._noting():
            async with AsyncSession(self._writer, expire_on_commit=False) as session:
                yield session
                await session.commit()

    async def transact(self, step: Callable[[Connection], Result]) -> Result:
        """Do something in a transaction, committed at its end; what it gives comes back.

        The cheapest one: SQLAlchemy's synchronous side is entered once, and not for every step.

        Args:
            step: What is done; it must not commit. It can't await.

        Raises:
            StoreUnavailable: As ``writing`` does.
        """

        def within() -> Result:
            with self._writer.sync_engine.begin() as connection:
                return step(connection)

        with self._noting():
            return await greenlet_spawn(within)

    async def converse(self, step: Callable[[Any], Awaitable[Result]]) -> Result:
        """Do something by the driver's own statements, without SQLAlchemy in between.

        Args:
            step: What is done. It gets a ``Driver`` or, on SQLite, a ``SqliteDriver``.

        Raises:
            StoreUnavailable: The database can't be used now. Of the last statement it is not known
                whether it was done, when the connection broke meanwhile.
            Outrun: What ``step`` lets through of it.
        """
        with self._noting():
            pooled, self._kept = self._kept, None
            if pooled is None:
                pooled = await greenlet_spawn(self._writer.sync_engine.raw_connection)
            driver = self._driver(pooled.driver_connection)
            try:
                return await step(driver)
            finally:
                await self._give_back(pooled, good=driver.end())

    async def _give_back(self, pooled: Any, *, good: bool) -> None:
        """Keep a connection of PostgreSQL for what comes next; the pool takes long over each."""
        if not good:
            await greenlet_spawn(pooled.invalidate)
        elif not self.is_sqlite and self._kept is None and not self._stopped:
            self._kept = pooled
            if self._keeping is None:
                loop = asyncio.get_running_loop()
                self._keeping = loop.call_later(_KEPT_SECONDS, self._let_go)
            return
        await greenlet_spawn(pooled.close)

    def _let_go(self) -> None:
        self._keeping = None
        pooled, self._kept = self._kept, None
        if pooled is not None:
            self._leaving = asyncio.ensure_future(greenlet_spawn(pooled.close))

    def _driver(self, connection: Any) -> Driver | SqliteDriver:
        if self.is_sqlite:
            return SqliteDriver(connection, engines.BUSY_SECONDS, self._committed)
        return Driver(connection, self._writer.dialect)

    def _committed(self, seconds: float) -> None:
        # What is longer may have waited for the interpreter's lock, and not for the disk.
        weight = _QUICKER if seconds < self.commit_seconds else _SLOWER
        self.commit_seconds += (seconds - self.commit_seconds) * weight

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Around what writes: how long it takes, and whether it could."""
        try:
            with _WRITING.time(), store_errors():
                yield
        except StoreUnavailable:
            self._failed = True
            raise

    def connections(self) -> tuple[int, int, int]:
        """How many connections there are, are in use, and are kept."""
        pools = [engine.pool for engine in {self._writer, self._reader}]
        found = [pool for pool in pools if isinstance(pool, QueuePool)]
        in_use = sum(pool.checkedout() for pool in found)
        idle = sum(pool.checkedin() for pool in found)
        return in_use + idle, in_use, sum(pool.size() for pool in found)

    @asynccontextmanager
    async def founding(self) -> AsyncIterator[AsyncConnection]:
        """A transaction on a database that may have no schema yet; committed at the end.

        Raises:
            StartRefused: The SQLite file can't be made.
            StoreUnavailable: As ``writing`` does.
        """
        await self._prepare()
        with self._noting():
            async with self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one moment of the database, however long it reads.

        Raises:
            StoreUnavailable: As ``reading`` does.
        """
        with store_errors():
            async with self._reader.connect() as connection:
                if not self.is_sqlite:  # there a transaction that reads is one
                    await connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                async with connection.begin():
                    yield connection

    async def check_writable(self, session: AsyncSession) -> None:
        """See that a transaction could write.

        Args:
            session: From ``writing``; on SQLite it holds the write lock by now.

        Raises:
            StoreUnavailable: It could not: PostgreSQL is a standby, or set to read only. What
                hinders SQLite, such as a full disk, shows only when something is written and
                committed; that is done where it failed before.
        """
        if self.is_sqlite:
            await session.execute(text("select 1"))
            if self._failed:
                # The number is nobody's; setting it writes the file's first page.
                found = await session.scalar(text("pragma user_version"))
                await session.execute(text(f"pragma user_version = {int(found or 0)}"))
                await session.commit()
                self._failed = False
        elif await session.scalar(text("select current_setting('transaction_read_only')")) == "on":
            raise StoreUnavailable("PostgreSQL takes no writes: is it a standby?")


async def migrate(url: str) -> None:
    """Bring the database at a URL to the newest schema.

    Raises:
        StartRefused: It is newer than this program, or the URL can't be used.
        StoreUnavailable: It can't be reached.
    """
    database = Database(url)
    try:
        await database.start(migrate=True)
    finally:
        await database.stop()
