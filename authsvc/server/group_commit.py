"""Commits that many orders share.

    issue = GroupCommit(database, work)
    result = await issue.submit(order)                 # returns when it is durable

See docs/decisions/0001-group-commit.md.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy import Connection

from authsvc.errors import StoreUnavailable
from authsvc.server import engines
from authsvc.server.database import Database

__all__ = ["SILENT_SECONDS", "GroupCommit"]

Order = TypeVar("Order")
Result = TypeVar("Result")

SILENT_SECONDS = 20.0
"""After which PostgreSQL is given up in the middle of orders: the connection is half open, or it
hangs. SQLite has bounds of its own."""
_TRIES = 3
"""Of an order whose transaction loses a race against another process."""
_FEW = 8
_HALF = 16
"""Orders for which a batch waits at most; with more it is worth its statements in any case."""
_QUICKER, _SLOWER = 0.1, 0.002
"""What a measurement weighs. What few wait for is what the quick ones took: the slow ones had
others come behind them, or had to wait for a core."""


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
        sooner: A quicker way to do a batch, durable when it returns; None if it does not do for
            these orders, and nothing was done.
        coming: How many orders are about to come. A batch waits for as many as are still coming,
            if they are few, so that the database and the event loop each have half of them.
        share: How many of so many orders a batch shall have at most.
    """

    def __init__(
        self,
        database: Database,
        work: Callable[[Connection, list[Order]], Sequence[Result | Exception]],
        *,
        max_batch: int = 256,
        parallel: int = 4,
        sooner: Callable[[list[Order]], Awaitable[Sequence[Result | Exception] | None]]
        | None = None,
        coming: Callable[[], int] = lambda: 0,
        share: Callable[[int], int] = lambda pending: pending,
    ) -> None:
        self._share = share
        self._sooner = sooner
        self._coming = coming
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
        self.usual = 0.0
        """Seconds that an order took lately which came while few waited."""

    def queued(self) -> int:
        """Orders that are in no transaction yet."""
        return len(self._waiting)

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
        began = time.perf_counter() if self.pending < _FEW else None
        self.pending += 1
        try:
            return await future
        finally:
            self.pending -= 1
            self.answered += 1
            if began is not None:
                self._measure(time.perf_counter() - began)

    def _measure(self, took: float) -> None:
        weight = _QUICKER if took < self.usual else _SLOWER
        self.usual += (took - self.usual) * (weight if self.usual else 1)

    async def stop(self) -> None:
        """Take no more orders, and return when those that wait are done."""
        self._stopping = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _drain(self) -> None:
        enough = self._max_batch
        while self._waiting:
            known = 0 if len(self._waiting) < enough else len(self._waiting)
            # Those who were answered are told after PostgreSQL has something to do again. On SQLite
            # others wait for the one connection, and get it meanwhile.
            enough = self._max_batch if self._database.is_sqlite else _FEW
            # What the same turns of the event loop bring shares the transaction too.
            while known < len(self._waiting) < self._max_batch:
                known = len(self._waiting)
                await asyncio.sleep(0)
                if self._coming():
                    await self._gather()
                    break
            batch: list[tuple[Order, asyncio.Future[Result]]] = []
            most = max(1, min(self._share(self.pending), self._max_batch))
            while self._waiting and len(batch) < most:
                order, future = self._waiting.popleft()
                if not future.done():
                    batch.append((order, future))
            if batch:
                await self._settle(batch)
        # Counted here and not by the task's end: an order that comes in between must start anew.
        self._running -= 1

    async def _gather(self) -> None:
        """Wait for as many orders as are still coming."""
        while len(self._waiting) < min(_HALF, self._coming()):  # noqa: ASYNC110 - the next turns
            await asyncio.sleep(0)

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
        def work(connection: Connection) -> Sequence[Result | Exception]:
            outcomes = self._work(connection, orders)
            if len(outcomes) != len(orders):
                raise RuntimeError(f"{len(outcomes)} outcomes for {len(orders)} orders")
            return outcomes

        seconds = None if self._database.is_sqlite else SILENT_SECONDS
        try:
            async with asyncio.timeout(seconds) as bound:
                found = None if self._sooner is None else await self._sooner(orders)
                return await self._database.transact(work) if found is None else found
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise StoreUnavailable(f"the database said nothing for {seconds} s") from error


def _fail(future: asyncio.Future[Result], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
