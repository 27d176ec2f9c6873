"""The rows that counts are in; one statement counts, so that replicas lose none."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server import audit
from authsvc.server.models import AttemptCount

__all__ = ["Addition", "Count", "add", "forget_attempts", "read_failed", "succeeded"]

_counts = AttemptCount.__table__  # type: ignore[attr-defined]


class Count(NamedTuple):
    """What a window holds: how many tries, and when it ends, in seconds since the epoch."""

    number: int
    ends_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Attempts to be counted.

    Args:
        mark: Under what.
        number: How many.
        now: Seconds since the epoch.
        seconds: How long a window lasts.
        bound: The count at which the event is noted.
        event: For the audit; once in a window, whichever replica gets there.
    """

    mark: bytes
    number: int
    now: int
    seconds: int
    bound: int
    event: dict[str, Any]


def _upsert(dialect: Any) -> Any:
    statement = dialect.insert(_counts)
    new, over = statement.excluded, _counts.c.ends_at <= statement.excluded.started_at
    return statement.on_conflict_do_update(
        index_elements=["mark"],
        set_={
            "number": case((over, new.number), else_=_counts.c.number + new.number),
            "started_at": case((over, new.started_at), else_=_counts.c.started_at),
            "ends_at": case((over, new.ends_at), else_=_counts.c.ends_at),
        },
    ).returning(_counts.c.mark, _counts.c.number, _counts.c.ends_at)


_upserts = {dialect.dialect.name: _upsert(dialect) for dialect in (sqlite, postgresql)}
_select = select(_counts.c.mark, _counts.c.number, _counts.c.ends_at).where(
    _counts.c.mark.in_(bindparam("marks", expanding=True)), _counts.c.ends_at > bindparam("now")
)
_delete = _counts.delete().where(_counts.c.mark.in_(bindparam("marks", expanding=True)))


def add(connection: Connection, additions: list[Addition]) -> list[Count]:
    """Count, and note what reaches its bound; each addition's own place in the count comes back."""
    sums: dict[bytes, dict[str, Any]] = {}
    for one in additions:
        row = sums.setdefault(
            one.mark,
            {
                "mark": one.mark,
                "number": 0,
                "started_at": one.now,
                "ends_at": one.now + one.seconds,
            },
        )
        row["number"] += one.number
    # In one order of rows all transactions wait for one another, and none for ever.
    rows = [sums[mark] for mark in sorted(sums)]
    found = connection.execute(_upserts[connection.dialect.name], rows)
    totals = {row.mark: Count(row.number, row.ends_at) for row in found}
    so_far = {mark: totals[mark].number - row["number"] for mark, row in sums.items()}
    counted, events = [], []
    for one in additions:
        before = so_far[one.mark]
        so_far[one.mark] = after = before + one.number
        counted.append(Count(after, totals[one.mark].ends_at))
        if before < one.bound <= after:
            events.append(one.event)
    if events:
        audit.INSERT.run(connection, events)
    return counted


def read_failed(connection: Connection, marks: Collection[bytes], now: int) -> dict[bytes, Count]:
    """How often each failed in a window that still lasts.

    Args:
        connection: Any.
        marks: Which are meant.
        now: Seconds since the epoch.
    """
    if not marks:
        return {}
    found = connection.execute(_select, {"marks": list(marks), "now": now})
    return {row.mark: Count(row.number, row.ends_at) for row in found}


def succeeded(connection: Connection, marks: Iterable[bytes]) -> None:
    """Forget failures of those who have just proven who they are."""
    given = list(marks)
    if given:
        connection.execute(_delete, {"marks": given})


async def forget_attempts(session: AsyncSession, now: float) -> None:
    """Delete windows that are over by now (seconds since the epoch)."""
    await session.execute(delete(AttemptCount).where(col(AttemptCount.ends_at) <= int(now)))
