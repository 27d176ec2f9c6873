"""Dropping what is older than the audit shall be kept: whole batches; their seals stay.

Each seal of a dropped batch carries a MAC that only the service can make, so that a deletion by
somebody else doesn't pass for retention; and an ``audit.drop`` event names batches and digests.
The MAC is what ``verify`` goes by: the event ages out itself one day.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from authsvc.server.audit import chain
from authsvc.server.audit.anchor import SERVICE, open_head, open_key
from authsvc.server.audit.events import append, event
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent, AuditSeal

__all__ = ["drop"]

_DAY_MS = 86_400_000
_MAX_EVENTS = 1000
"""In one transaction, as far as whole batches allow."""
_MAX_BATCHES = 100
_PAUSE_SECONDS = 0.05
log = structlog.get_logger("authsvc.audit")


async def drop(database: Database, keystore: Keystore, days: int, now: float) -> int:
    """Drop the events of sealed batches that are all older, and return how many those were.

    Args:
        database: Where they are.
        keystore: Opens the audit's key.
        days: How long events are kept.
        now: Seconds since the epoch.

    Raises:
        KeyUnavailable: The audit's key or head is missing, or was changed.
        StoreUnavailable: The rest is dropped the next time.
    """
    before = int(now * 1000) - days * _DAY_MS
    total = 0
    while True:
        async with database.writing() as session:
            await open_head(session, keystore, lock=True)  # one process at a time
            seals = await _due(session, before)
            if seals:
                total += await _drop(session, await open_key(session, keystore), seals, now)
        if not seals:
            return total
        await asyncio.sleep(_PAUSE_SECONDS)


async def _due(session: AsyncSession, before: int) -> list[AuditSeal]:
    statement = (
        select(AuditSeal)
        .options(defer(AuditSeal.leaves))  # type: ignore[arg-type]
        .where(col(AuditSeal.dropped_at).is_(None), col(AuditSeal.newest_at) < before)
        .order_by(col(AuditSeal.batch))
        .limit(_MAX_BATCHES)
    )
    found: list[AuditSeal] = []
    for seal in await session.scalars(statement):
        found.append(seal)
        if sum(each.count for each in found) >= _MAX_EVENTS:
            break
    return found


async def _drop(session: AsyncSession, key: bytes, seals: list[AuditSeal], now: float) -> int:
    batches = [seal.batch for seal in seals]
    statement = delete(AuditEvent).where(col(AuditEvent.batch).in_(batches))
    removed: Any = await session.execute(statement)
    for seal in seals:
        seal.dropped_at = int(now)
        seal.drop_mac = chain.drop_mac(key, seal.batch, seal.digest, int(now))
        seal.leaves = b""
    details = {
        "sealed": sum(seal.count for seal in seals),
        "removed": removed.rowcount,
        "batches": [{"batch": seal.batch, "digest": seal.digest} for seal in seals],
    }
    which = f"{batches[0]}-{batches[-1]}"
    row = event(SERVICE, "audit.drop", "audit_batches", which, details, int(now * 1000))
    await append(session, [row])
    log.info("audit dropped", batches=which, events=removed.rowcount)
    return int(removed.rowcount)
