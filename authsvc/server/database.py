"""The database: transactions, migrations, and commits that many orders share.

    database = Database(settings.database_url)
    await database.start(migrate=True)
    async with database.reading() as session: ...
    async with database.writing() as session: ...      # commits at its end

    issue = GroupCommit(database, work)
    result = await issue.submit(order)                 # returns when it is durable

What a driver reports as "can't be reached", "locked", "disk full" and the like comes out as
StoreUnavailable; mistakes of our own (a constraint, a statement) come out as they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar

from sqlalchemy import Connection, QueuePool, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from authsvc.errors import StoreUnavailable
from authsvc.server import engines, metrics, migrations, tracing
from authsvc.server.engines import store_errors

__all__ = ["Database", "GroupCommit", "migrate"]

Order = TypeVar("Order")
Result = TypeVar("Result")

_READING, _WRITING = (metrics.TRANSACTION_SECONDS.labels(kind) for kind in ("read", "write"))
SILENT_SECONDS = 20.0
"""After which PostgreSQL is given up in the middle of orders: the connection is half open, or it
hangs. SQLite has bounds of its own."""
_TRIES = 3
"""Of an order whose transaction loses a race against another process."""


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
        with _WRITING.time(), self._noting(), store_errors():
            async with AsyncSession(self._writer, expire_on_commit=False) as session:
                yield session
                await session.commit()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """The same without a session, whose book-keeping costs more than a row or two.

        Raises:
            StoreUnavailable: As ``writing`` does.
        """
        with _WRITING.time(), self._noting(), store_errors():
            async with self._writer.begin() as connection:
                yield connection

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
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
        async with self.transaction() as connection:
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


class GroupCommit(Generic[Order, Result]):
    """Orders that share transactions: one commit makes all that waited for it durable.

    An order that comes while a transaction runs waits for the next one, so a batch grows just as
    far as the disk is slow. An order that makes ``work`` raise is tried again in a transaction
    of its own, so that it fails alone; ``work`` must therefore change nothing but rows.
    One that lost a race against another process (a constraint, a deadlock) is tried again too:
    the next transaction sees who won.

    Args:
        database: Where to write.
        work: Does all orders of a batch on the connection given and returns for each, in the
            same order, its result or the exception that its submitter shall get. It never commits.
        max_batch: Orders in one transaction.
        parallel: Transactions side by side once more than one batch waits; always one on SQLite.
    """

    def __init__(
        self,
        database: Database,
        work: Callable[[AsyncConnection, list[Order]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int = 256,
        parallel: int = 4,
    ) -> None:
        self._database = database
        self._work = work
        self._max_batch = max_batch
        self._parallel = 1 if database.is_sqlite else parallel
        self._waiting: deque[tuple[Order, asyncio.Future[Result]]] = deque()
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.pending = 0
        """Orders that were taken and have no answer yet."""
        self.answered = 0
        """Orders that had one since the beginning."""

    async def submit(self, order: Order) -> Result:
        """Have an order done; returns when it is committed.

        A submitter that is cancelled disturbs nobody; its own order may be done or not.

        Raises:
            StoreUnavailable: The transaction failed, or the service stops.
            Exception: What ``work`` gave or raised for this order.
        """
        if self._stopping:
            raise StoreUnavailable("the service is stopping")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, future))
        if not self._running or (
            self._running < self._parallel and len(self._waiting) >= self._max_batch
        ):
            self._running += 1
            task = asyncio.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.pending += 1
        try:
            return await future
        finally:
            self.pending -= 1
            self.answered += 1

    async def stop(self) -> None:
        """Take no more orders, and return when those that wait are done."""
        self._stopping = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _drain(self) -> None:
        while self._waiting:
            known = 0
            # What the same turns of the event loop bring shares the transaction too.
            while known < len(self._waiting) < self._max_batch:
                known = len(self._waiting)
                await asyncio.sleep(0)
            batch: list[tuple[Order, asyncio.Future[Result]]] = []
            while self._waiting and len(batch) < self._max_batch:
                order, future = self._waiting.popleft()
                if not future.done():
                    batch.append((order, future))
            if batch:
                await self._settle(batch)
        # Counted here and not by the task's end: an order that comes in between must start anew.
        self._running -= 1

    async def _settle(
        self, batch: list[tuple[Order, asyncio.Future[Result]]], tries: int = _TRIES
    ) -> None:
        try:
            outcomes = await self._transact([order for order, _ in batch])
        except Exception as error:  # noqa: BLE001 - each submitter gets it
            await self._failed(batch, error, tries)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                _fail(future, outcome)
            elif not future.done():
                future.set_result(outcome)

    async def _failed(
        self, batch: list[tuple[Order, asyncio.Future[Result]]], error: Exception, tries: int
    ) -> None:
        unavailable = isinstance(error, StoreUnavailable)
        if len(batch) > 1 and not unavailable:
            for entry in batch:
                await self._settle([entry])
        elif tries > 1 and engines.lost_race(error.__cause__ if unavailable else error):
            await self._settle(batch, tries - 1)
        else:
            for _, future in batch:
                # One exception each: raised in many tasks, one would gather their frames.
                _fail(future, StoreUnavailable(*error.args) if unavailable else error)

    async def _transact(self, orders: list[Order]) -> Sequence[Result | Exception]:
        seconds = None if self._database.is_sqlite else SILENT_SECONDS
        try:
            async with (
                asyncio.timeout(seconds) as bound,
                self._database.transaction() as connection,
            ):
                outcomes = await self._work(connection, orders)
                if len(outcomes) != len(orders):
                    raise RuntimeError(f"{len(outcomes)} outcomes for {len(orders)} orders")
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise StoreUnavailable(f"the database said nothing for {seconds} s") from error
        return outcomes


def _fail(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
