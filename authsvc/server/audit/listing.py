"""The audit as administrators read it: filters, pages, and the shape of an item."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.server.database import Database
from authsvc.server.models import AuditEvent

__all__ = ["Filters", "export", "item", "newest"]

_PAGE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_events = AuditEvent.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which events; what is None doesn't matter."""

    actor: str | None = None
    """The id of who did it."""
    action: str | None = None
    """One action, or all that begin with it when it ends with a dot."""
    target: str | None = None
    """The id of what it was done to."""
    request_id: str | None = None
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""

    def conditions(self) -> list[Any]:
        """The filters in SQL."""
        columns = _events.c
        found: list[Any] = []
        if self.actor is not None:
            found.append(columns.actor_id == self.actor)
        if self.action is not None and self.action.endswith("."):
            found.append(columns.action.startswith(self.action, autoescape=True))
        elif self.action is not None:
            found.append(columns.action == self.action)
        if self.target is not None:
            found.append(columns.target_id == self.target)
        if self.request_id is not None:
            found.append(columns.request_id == self.request_id)
        if self.since is not None:
            found.append(columns.at >= _milliseconds(self.since))
        if self.until is not None:
            found.append(columns.at < _milliseconds(self.until))
        return found


async def newest(
    session: AsyncSession, filters: Filters, *, limit: int, before: int | None = None
) -> list[Any]:
    """Rows of events, newest first.

    Args:
        session: Any.
        filters: Which.
        limit: How many at most.
        before: The ``seq`` of the last one that was seen.
    """
    statement = select(_events).where(*filters.conditions())
    if before is not None:
        statement = statement.where(_events.c.seq < before)
    return list(await session.execute(statement.order_by(_events.c.seq.desc()).limit(limit)))


async def export(database: Database, filters: Filters) -> AsyncIterator[list[Any]]:
    """All rows of events, oldest first, page by page, each page a transaction of its own.

    Raises:
        StoreUnavailable: The database can't be used now.
    """
    statement = select(_events).where(*filters.conditions()).order_by(_events.c.seq).limit(_PAGE)
    after = 0
    while True:
        async with database.reading() as session:
            rows = list(await session.execute(statement.where(_events.c.seq > after)))
        if not rows:
            return
        yield rows
        after = rows[-1].seq


def item(row: Any) -> dict[str, Any]:
    """An event as it is shown; contract, section 3."""
    return {
        "id": row.id,
        "at": _rfc3339(row.at),
        "actor": {"kind": row.actor_kind, "id": row.actor_id},
        "action": row.action,
        "target": {"kind": row.target_kind, "id": row.target_id},
        "request_id": row.request_id,
        "address": row.address,
        "details": row.details,
    }


def _rfc3339(at: int) -> str:
    seconds, milliseconds = divmod(at, 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{milliseconds:03}Z")


def _milliseconds(moment: datetime) -> int:
    # Up to the next whole one: "since 12:00:00.0001" does not mean 12:00:00.000.
    return -(-(moment - _EPOCH) // timedelta(milliseconds=1))
