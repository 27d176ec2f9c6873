"""All seals, and all sealed events, in the order of their batches and by pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.audit.sealing import columns
from authsvc.server.models import AuditEvent, AuditSeal

__all__ = ["Cursor", "Event", "pages_of_events", "pages_of_seals"]

_PAGE = 1000
_SEALS = 100
"""Of up to 24 KB each."""
_events = AuditEvent.__table__  # type: ignore[attr-defined]


class Event(NamedTuple):
    """A sealed event as it stands in the database; on SQLite of any type."""

    batch: Any
    seq: int
    id: Any
    columns: tuple[Any, ...]
    """As ``chain.leaf`` takes them."""


class Cursor:
    """An iterator that shows the event it stands at."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events
        self.current: Event | None = None

    async def step(self) -> None:
        """Go on to the next one; None at the end."""
        self.current = await anext(self._events, None)


async def pages_of_seals(session: AsyncSession) -> AsyncIterator[AuditSeal]:
    """Every seal by its batch."""
    statement = select(AuditSeal).order_by(col(AuditSeal.batch)).limit(_SEALS)
    page = list(await session.scalars(statement))
    while page:
        for seal in page:
            yield seal
        last = page[-1].batch
        session.expunge_all()
        page = list(await session.scalars(statement.where(col(AuditSeal.batch) > last)))


async def pages_of_events(session: AsyncSession) -> AsyncIterator[Event]:
    """Every sealed event by batch and ``seq``."""
    batch, seq = _events.c.batch, _events.c.seq
    statement = select(batch, *columns()).order_by(batch, seq).limit(_PAGE)
    page = (await session.execute(statement.where(batch.is_not(None)))).all()
    while page:
        for row in page:
            yield Event(row[0], row.seq, row.id, tuple(row)[1:])
        # Spelt so that the index on batch serves.
        after = (batch >= page[-1][0]) & ((batch > page[-1][0]) | (seq > page[-1].seq))
        page = (await session.execute(statement.where(after))).all()
