"""POSTs that may be sent again: what was answered is kept beside the change, for a day.

    kept = await claim(session, digest, request, now)   # in the transaction of the change
    if kept is None:
        ... change something in the same session ...
        await keep(session, digest, request, status, body, now)

Answer and change commit together, so a crash can't leave one without the other. A request that is
still being handled holds a lock, which ends with its transaction, however that ends.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import IdempotencyMismatch, RequestInProgress
from authsvc.server.models import IdempotencyKey

__all__ = ["KEPT_SECONDS", "Kept", "claim", "digest", "forget", "keep"]

KEPT_SECONDS = 86400


class Kept(NamedTuple):
    """What was answered the first time, without one-time secrets."""

    status: int
    body: bytes


def digest(*parts: str) -> bytes:
    """One name for several texts, none of which may run into the next."""
    return hashlib.sha256(b"".join(_sized(part.encode()) for part in parts)).digest()


def _sized(part: bytes) -> bytes:
    return len(part).to_bytes(8, "big") + part


async def claim(session: AsyncSession, key: bytes, request: bytes, now: float) -> Kept | None:
    """What was answered to the request before; None where this is the first.

    Until the session's transaction ends, nobody else can claim the key.

    Args:
        session: Writing, and nothing was written yet.
        key: The digest of who asks, the route and the key that came with the request.
        request: The digest of what is asked for.
        now: Seconds since the epoch.

    Raises:
        RequestInProgress: It is being handled, here or by another replica.
        IdempotencyMismatch: The key was used for another request.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        lock = int.from_bytes(key[:8], "big", signed=True)
        got = await session.scalar(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": lock})
        if not got:
            raise RequestInProgress("this request is still being handled; ask again in a moment")
    row = await session.get(IdempotencyKey, key)
    if row is not None and row.created_at + KEPT_SECONDS <= now:
        await session.delete(row)
        await session.flush()
        row = None
    if row is None:
        return None
    if row.request != request:
        raise IdempotencyMismatch(
            "this Idempotency-Key came with another request before; use a new one for each"
        )
    return Kept(row.status, row.body)


async def keep(  # noqa: PLR0917 - the columns of one row
    session: AsyncSession, key: bytes, request: bytes, status: int, body: bytes, now: float
) -> None:
    """Keep what is answered to a claimed request.

    Args:
        session: That of ``claim``; the edge commits.
        key: As claimed.
        request: As claimed.
        status: Of the answer.
        body: The answer, without one-time secrets.
        now: Seconds since the epoch.
    """
    session.add(
        IdempotencyKey(digest=key, request=request, status=status, body=body, created_at=int(now))
    )
    await session.flush()


async def forget(session: AsyncSession, now: float) -> None:
    """Forget what is older than a day by now (seconds since the epoch)."""
    oldest = int(now) - KEPT_SECONDS
    await session.execute(delete(IdempotencyKey).where(col(IdempotencyKey.created_at) <= oldest))
