"""Events become a link of the chain.

    sealed = await seal(database, keystore, time.time())

Events are read and their MACs made outside of the transaction that writes; that one holds the head,
looks whether somebody was quicker, and writes three things. On PostgreSQL an event may be committed
after events of a higher ``seq``: it goes into a later batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import orjson
import structlog
from sqlalchemy import JSON, Text, bindparam, cast, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.errors import Conflict
from authsvc.server.audit import chain
from authsvc.server.audit.anchor import (
    HEAD,
    READ,
    REPLACE,
    Head,
    open_head,
    open_key,
    replacing,
    unsealed_head,
)
from authsvc.server.database import Database
from authsvc.server.driver import Outrun
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent, AuditSeal
from authsvc.server.sqlite_driver import SqliteDriver, bind

__all__ = ["MAX_BATCH", "columns", "limit_of", "seal"]

MAX_BATCH = 1000
"""Events in a seal on SQLite, whose one writer is held for a few ms."""
_MAX_BATCH_POSTGRESQL = 4000
_SLICE = 100
"""MACs in a turn of the event loop."""
_SEQ, _AT = map(chain.COLUMNS.index, ("seq", "at"))
_SEALED = "another process sealed the audit's events first"
_LATE = "an event was committed late, between those that were read"
_events = AuditEvent.__table__  # type: ignore[attr-defined]
log = structlog.get_logger("authsvc.audit")


class _Batch(NamedTuple):
    """Events that are about to be sealed."""

    head: Head
    leaves: list[chain.Leaf]
    newest_at: int
    key: bytes


class _Made(NamedTuple):
    """A seal that is about to be written."""

    link: chain.Link
    digest: str
    leaves: bytes

    @property
    def between(self) -> dict[str, int]:
        """Which events it covers."""
        link = self.link
        return {"first": link.first_seq, "last": link.last_seq, "of_batch": link.batch}

    @property
    def row(self) -> dict[str, Any]:
        """The seal's own."""
        new = {"digest": self.digest, "leaves": self.leaves, "dropped_at": None, "drop_mac": None}
        return asdict(self.link) | new

    @property
    def head(self) -> Head:
        """The newest link then."""
        return Head(self.link.batch, self.digest, self.link.sealed_at)


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
_insert = AuditSeal.__table__.insert()  # type: ignore[attr-defined]


def limit_of(database: Database) -> int:
    """How many events a seal has at most."""
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
        batch = await _prepare(session, keystore, limit or limit_of(database))
    if not batch.leaves:
        return 0
    made = _made(batch, int(now))
    write = _write_by_driver if database.is_sqlite else _write
    await write(database, keystore, batch.head, made)
    # In a log that is kept elsewhere this dates the chain for whoever can write here.
    log.info("audit sealed", batch=made.link.batch, digest=made.digest, events=made.link.count)
    return made.link.count


def _made(batch: _Batch, now: int) -> _Made:
    packed, root = chain.pack(batch.leaves)
    link = chain.Link(
        batch=batch.head.batch + 1,
        first_seq=batch.leaves[0].seq,
        last_seq=batch.leaves[-1].seq,
        count=len(batch.leaves),
        newest_at=batch.newest_at,
        sealed_at=now,
        previous=batch.head.digest,
        root=root,
    )
    return _Made(link, link.digest(batch.key), packed)


async def _write(database: Database, keystore: Keystore, after: Head, made: _Made) -> None:
    async with database.writing() as session:
        if await open_head(session, keystore, lock=True) != after:
            raise Conflict(_SEALED)
        covered: Any = await session.execute(_cover, made.between)
        if covered.rowcount != made.link.count:
            raise Conflict(_LATE)
        await session.execute(_insert, made.row)
        await session.execute(REPLACE, replacing(keystore, made.head))


async def _write_by_driver(
    database: Database, keystore: Keystore, after: Head, made: _Made
) -> None:
    """The same on SQLite: by a thread, all of it in one go, for all others wait meanwhile."""

    async def step(driver: SqliteDriver) -> None:
        await driver.begin()
        text, values = bind(READ, {"of": HEAD})
        sealed = driver.fetch(text, *values)
        if unsealed_head(keystore, sealed[0][0] if sealed else None) != after:
            raise Conflict(_SEALED)
        await driver.commit(
            [
                bind(_cover, made.between),
                bind(_insert, made.row),
                bind(REPLACE, replacing(keystore, made.head)),
            ],
            first=made.link.count,
        )

    try:
        await database.converse(step)
    except Outrun as error:
        raise Conflict(_LATE) from error


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
