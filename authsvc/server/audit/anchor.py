"""What the chain hangs on: the audit's key and the head, both sealed by the keystore.

The head names the newest link. Without it, whoever writes to the database could cut links off
the end and nothing would be missing.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import orjson
import structlog
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.errors import KeyUnavailable
from authsvc.server.audit.chain import FIRST
from authsvc.server.audit.events import Actor, Context, append, event
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent, AuditSeal, Secret

__all__ = [
    "HEAD",
    "KEY",
    "READ",
    "REPLACE",
    "SERVICE",
    "Head",
    "begin",
    "open_head",
    "open_key",
    "replacing",
    "unsealed_head",
]

KEY, HEAD = "audit:key", "audit:head"
"""Names in ``secrets``, and contexts of the sealed texts."""

SERVICE = Context(Actor("service", "audit"), "", "")
_KEY_BYTES = 32
# Not by objects: under load this is asked several times a second.
_secrets = Secret.__table__  # type: ignore[attr-defined]
READ = select(_secrets.c.sealed).where(_secrets.c.name == bindparam("of"))
"""Gives the sealed text of the secret ``of``."""
_read_locked = READ.with_for_update()
REPLACE = (
    _secrets.update().where(_secrets.c.name == bindparam("of")).values(sealed=bindparam("text"))
)
"""Replaces it; see ``replacing``."""
log = structlog.get_logger("authsvc.audit")


class Head(NamedTuple):
    """The newest link of the chain."""

    batch: int
    digest: str
    sealed_at: int
    """Seconds since the epoch."""


async def begin(session: AsyncSession, keystore: Keystore, now: float) -> None:
    """Make the key and the head, unless the audit has them.

    Events that are there already were not sealed so far: an ``audit.begin`` says how many, so
    that a chain that somebody removed whole is not taken for the first one.

    Args:
        session: Writing.
        keystore: Seals both.
        now: Seconds since the epoch.
    """
    if await session.get(Secret, KEY) is not None:
        return
    if await session.scalar(select(func.count()).select_from(AuditSeal)):
        log.error("the audit has seals but no key: nothing is sealed; run `authsvc audit verify`")
        return
    made = {KEY: os.urandom(_KEY_BYTES), HEAD: _encode(Head(0, FIRST, 0))}
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    for name, secret in made.items():
        values = {"name": name, "sealed": keystore.seal_bytes(secret, name), "created_at": int(now)}
        # Replicas may start for the first time together: one writes.
        statement = dialect.insert(Secret).values(values).on_conflict_do_nothing()
        written = await session.scalar(statement.returning(Secret.name))
        if written is None:
            return
    older = await session.scalar(select(func.count()).select_from(AuditEvent)) or 0
    if older:
        log.warning("the audit's chain begins", older_events=older)
        details = {"older_events": older}
        row = event(SERVICE, "audit.begin", "audit", "chain", details, int(now * 1000))
        await append(session, [row])


async def open_key(session: AsyncSession, keystore: Keystore) -> bytes:
    """The audit's key.

    Raises:
        KeyUnavailable: It is not there, or not as the service made it.
    """
    return _open(keystore, KEY, await session.scalar(READ, {"of": KEY}))


async def open_head(session: AsyncSession, keystore: Keystore, *, lock: bool = False) -> Head:
    """The newest link.

    Args:
        session: Any.
        keystore: Opens it.
        lock: Whether to hold it until the transaction ends, so that one process seals at a time.

    Raises:
        KeyUnavailable: It is not there, or not as the service made it.
    """
    sealed = await session.scalar(_read_locked if lock else READ, {"of": HEAD})
    return unsealed_head(keystore, sealed)


def unsealed_head(keystore: Keystore, sealed: bytes | None) -> Head:
    """The newest link, as ``READ`` gives it.

    Raises:
        KeyUnavailable: It is not there, or not as the service made it.
    """
    return Head(*orjson.loads(_open(keystore, HEAD, sealed)))


def replacing(keystore: Keystore, head: Head) -> dict[str, str | bytes]:
    """The parameters of ``REPLACE`` for the newest link."""
    return {"of": HEAD, "text": keystore.seal_bytes(_encode(head), HEAD)}


def _encode(head: Head) -> bytes:
    return orjson.dumps(list(head))


def _open(keystore: Keystore, name: str, sealed: bytes | None) -> bytes:
    if sealed is None:
        raise KeyUnavailable(f"the secret {name} is missing")
    return keystore.open_bytes(sealed, name)
