"""The service seals what is not sealed yet, some seconds after it was done.

    sealer = Sealer(database, keystore, retention_days=0)
    sealer.start()
    await sealer.stop()

Every replica runs one. Events are read and their MACs made outside of the transaction that
writes; that one holds the head, looks whether somebody was quicker, and writes three things. On
PostgreSQL an event may be committed after events of a higher ``seq``: it goes into a later batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import orjson
import structlog
from sqlalchemy import JSON, Text, bindparam, cast, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.errors import AuthsvcError, Conflict
from authsvc.server import metrics
from authsvc.server.audit import chain, retention
from authsvc.server.audit.anchor import Head, open_head, open_key, store_head
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent, AuditSeal

__all__ = ["MAX_BATCH", "Sealer", "columns", "seal"]

MAX_BATCH = 1000
"""Events in a seal on SQLite, whose one writer is held for a few ms."""
_MAX_BATCH_POSTGRESQL = 4000
_LOOK_SECONDS = 1.0
_WAIT_MS = 3000
"""How long events wait while there are fewer than ``_MANY``."""
_MANY = 1000
_PAUSE_SECONDS = 0.02
"""Between batches when many wait, so that others get at the write lock."""
_SLICE = 100
"""MACs in a turn of the event loop."""
_RETENTION_SECONDS = 3600.0
_STOP_SECONDS = 5.0
_SEQ, _AT = map(chain.COLUMNS.index, ("seq", "at"))
_events = AuditEvent.__table__  # type: ignore[attr-defined]
log = structlog.get_logger("authsvc.audit")


class _Batch(NamedTuple):
    """Events that are about to be sealed."""

    head: Head
    leaves: list[chain.Leaf]
    newest_at: int
    key: bytes


def columns() -> list[Any]:
    """The columns of a leaf, to be selected: ``details`` as text, which needs no reading."""
    return [
        cast(_events.c.details, Text).label(name) if name == "details" else _events.c[name]
        for name in chain.COLUMNS
    ]


_waiting = (
    select(*columns())
    .where(_events.c.batch.is_(None))
    .order_by(_events.c.seq)
    .limit(bindparam("limit"))
)
_inner = _waiting.subquery().c


def _read_with(read: Callable[[Any], Any]) -> list[Any]:
    return [read(column) if column.name == "details" else column for column in _inner]


# All in one row. In a thread Python's lock would go to and fro for each of them, and elsewhere
# SQLAlchemy makes an object of each.
_in_one = {
    "sqlite": select(func.json_group_array(func.json_array(*_read_with(func.json)))),
    "postgresql": select(
        cast(func.json_agg(func.json_build_array(*_read_with(lambda it: cast(it, JSON)))), Text)
    ),
}
_cover = (
    _events.update()
    .where(_events.c.seq.between(bindparam("first"), bindparam("last")), _events.c.batch.is_(None))
    .values(batch=bindparam("of_batch"))
)
_count = select(func.count(), func.min(_events.c.at)).where(_events.c.batch.is_(None))


def _limit(database: Database) -> int:
    return MAX_BATCH if database.is_sqlite else _MAX_BATCH_POSTGRESQL


async def seal(database: Database, keystore: Keystore, now: float, limit: int | None = None) -> int:
    """Seal the oldest events that are not sealed, and return how many that were.

    Args:
        database: Where they are.
        keystore: Opens the audit's key.
        now: Seconds since the epoch.
        limit: Events in the batch at most, if fewer than usual.

    Raises:
        KeyUnavailable: The audit's key or head is missing, or was changed.
        Conflict: Another process sealed the same events first, or a late one came in between.
        StoreUnavailable: Nothing was sealed.
    """
    async with database.reading() as session:
        batch = await _prepare(session, keystore, limit or _limit(database))
    if not batch.leaves:
        return 0
    packed, root = chain.pack(batch.leaves)
    link = chain.Link(
        batch=batch.head.batch + 1,
        first_seq=batch.leaves[0].seq,
        last_seq=batch.leaves[-1].seq,
        count=len(batch.leaves),
        newest_at=batch.newest_at,
        sealed_at=int(now),
        previous=batch.head.digest,
        root=root,
    )
    digest = link.digest(batch.key)
    async with database.writing() as session:
        if await open_head(session, keystore, lock=True) != batch.head:
            raise Conflict("another process sealed the audit's events first")
        between = {"first": link.first_seq, "last": link.last_seq, "of_batch": link.batch}
        if await database.change_many(session, _cover, between) != link.count:
            raise Conflict("an event was committed late, between those that were read")
        session.add(AuditSeal(**asdict(link), digest=digest, leaves=packed))
        await store_head(session, keystore, Head(link.batch, digest, int(now)))
    # In a log that is kept elsewhere this dates the chain for whoever can write here.
    log.info("audit sealed", batch=link.batch, digest=digest, events=link.count)
    return link.count


async def _prepare(session: AsyncSession, keystore: Keystore, limit: int) -> _Batch:
    head = await open_head(session, keystore)
    key = await open_key(session, keystore)
    rows = await _read(session, limit)
    leaves: list[chain.Leaf] = []
    for place, row in enumerate(rows):
        leaves.append(chain.Leaf(row[_SEQ], chain.leaf(key, row)))
        if place % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
    return _Batch(head, leaves, max((row[_AT] for row in rows), default=0), key)


async def _read(session: AsyncSession, limit: int) -> Sequence[Sequence[Any]]:
    given = {"limit": limit}
    try:
        text = await session.scalar(_in_one[session.get_bind().dialect.name], given)
        rows: list[list[Any]] = orjson.loads(text or "[]")
    except (OperationalError, orjson.JSONDecodeError):
        # A column holds what JSON can't: somebody else wrote it, and its leaf will say so.
        return (await session.execute(_waiting, given)).all()
    return sorted(rows)  # they are, though no database promises it


class Sealer:
    """Seals and drops events while the service runs.

    Args:
        database: Where the events are.
        keystore: Opens the audit's key.
        retention_days: Days after which sealed events are dropped; 0: never.
    """

    def __init__(self, database: Database, keystore: Keystore, *, retention_days: int = 0) -> None:
        self._database = database
        self._keystore = keystore
        self._retention_days = retention_days
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._dropped = -_RETENTION_SECONDS
        self._told: str | None = None

    def start(self) -> None:
        """Begin; the audit has its key already."""
        self._task = asyncio.create_task(self._run(), name="authsvc-audit")

    async def stop(self) -> None:
        """End, after the batch that is being sealed."""
        self._stopping.set()
        if self._task is None:
            return
        await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._round()
                self._told = None
            except Conflict:
                pass  # another process is at it
            except Exception as error:  # noqa: BLE001 - whatever it is, sealing goes on
                self._tell(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._stopping.wait()

    def _tell(self, error: Exception) -> None:
        """Log why nothing is sealed, once for each reason."""
        text = f"{type(error).__name__}: {error}"
        if text != self._told:
            # A traceback says nothing about a database that is away or a head that is missing.
            trace = None if isinstance(error, AuthsvcError) else error
            log.error("audit not sealed", error=text, exc_info=trace)
            self._told = text

    async def _round(self) -> None:
        async with self._database.reading() as session:
            waiting, oldest = (await session.execute(_count)).one()
            head = await open_head(session, self._keystore)
        metrics.AUDIT_WAITING.set(waiting)
        metrics.AUDIT_SEALED.set(head.sealed_at)
        if waiting >= _MANY or (waiting and oldest <= time.time() * 1000 - _WAIT_MS):
            await self._seal_all()
        if self._retention_days and time.monotonic() - self._dropped >= _RETENTION_SECONDS:
            await retention.drop(self._database, self._keystore, self._retention_days, time.time())
            self._dropped = time.monotonic()

    async def _seal_all(self) -> None:
        while await seal(self._database, self._keystore, time.time()) == _limit(self._database):
            if self._stopping.is_set():
                return
            await asyncio.sleep(_PAUSE_SECONDS)
