"""Proofs of possession work once on every route that changes something.

The marks are rows, written in the transaction of the change: they hold across replicas and
restarts, and a change that isn't committed uses nothing up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.dpop import WINDOW_SECONDS, Proof
from authsvc.errors import InvalidProof
from authsvc.server.models import ProofUse

__all__ = ["forget", "insert_into", "spend", "spend_all"]

_proofs = ProofUse.__table__  # type: ignore[attr-defined]


@cache
def _insert_into(dialect: str, table: Any) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


@cache
def _spend(dialect: str) -> Any:
    insert = _insert_into(dialect, _proofs)
    return insert.on_conflict_do_nothing().returning(_proofs.c.digest)


def _digest(proof: Proof) -> bytes:
    # A jti is unique only among the proofs of one key.
    return hashlib.sha256(proof.public_key.raw + proof.jti.encode()).digest()


async def forget(session: AsyncSession, now: float) -> None:
    """Forget proofs that are refused for their age by now (seconds since the epoch)."""
    oldest = int(now) - 2 * WINDOW_SECONDS
    await session.execute(_proofs.delete().where(_proofs.c.issued_at < oldest))


def insert_into(connection: Connection, table: Any) -> Any:
    """An INSERT of the connection's own database, which knows ``ON CONFLICT``."""
    return _insert_into(connection.dialect.name, table)


def spend_all(connection: Connection, proofs: Sequence[Proof]) -> list[bool]:
    """Write down every proof; True for each that was used before, here or earlier."""
    if not proofs:
        return []
    digests = [_digest(proof) for proof in proofs]
    # On one order of rows all transactions wait for one another, and none for ever.
    marks = dict(sorted(zip(digests, [int(proof.issued_at) for proof in proofs], strict=True)))
    rows = [{"digest": digest, "issued_at": at} for digest, at in marks.items()]
    fresh = set(connection.scalars(_spend(connection.dialect.name), rows))
    used = []
    for digest in digests:
        used.append(digest not in fresh)
        fresh.discard(digest)
    return used


async def spend(session: AsyncSession, proof: Proof) -> None:
    """Use a proof up.

    Raises:
        InvalidProof: It was used before.
    """
    connection = await session.connection()
    if (await connection.run_sync(spend_all, [proof]))[0]:
        raise InvalidProof("proof: its jti was used before")
