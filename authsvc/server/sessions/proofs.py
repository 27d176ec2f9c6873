"""Proofs of possession work once on every route that changes something.

The marks are rows, written in the transaction of the change: they hold across replicas and
restarts, and a change that isn't committed uses nothing up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from operator import itemgetter

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.dpop import WINDOW_SECONDS, Proof
from authsvc.errors import InvalidProof
from authsvc.server.models import ProofUse

__all__ = ["forget", "spend", "spend_all"]

_proofs = ProofUse.__table__  # type: ignore[attr-defined]


_insert = _proofs.insert()
_select = select(_proofs.c.digest).where(_proofs.c.digest.in_(bindparam("digests", expanding=True)))


def _digest(proof: Proof) -> bytes:
    # A jti is unique only among the proofs of one key.
    return hashlib.sha256(proof.public_key.raw + proof.jti.encode()).digest()


async def forget(session: AsyncSession, now: float) -> None:
    """Forget proofs that are refused for their age by now (seconds since the epoch)."""
    oldest = int(now) - 2 * WINDOW_SECONDS
    await session.execute(_proofs.delete().where(_proofs.c.issued_at < oldest))


def spend_all(connection: Connection, proofs: Sequence[Proof]) -> list[bool]:
    """Write down every proof; True for each that was used before, here or earlier.

    Raises:
        IntegrityError: Another replica wrote one of them at this moment.
    """
    digests = [_digest(proof) for proof in proofs]
    known = set(connection.scalars(_select, {"digests": digests})) if digests else set()
    used, rows = [], []
    for digest, proof in zip(digests, proofs, strict=True):
        used.append(digest in known)
        if digest not in known:
            known.add(digest)
            rows.append({"digest": digest, "issued_at": int(proof.issued_at)})
    if rows:
        # In one order of rows all transactions wait for one another, and none for ever.
        connection.execute(_insert, sorted(rows, key=itemgetter("digest")))
    return used


async def spend(session: AsyncSession, proof: Proof) -> None:
    """Use a proof up.

    Raises:
        InvalidProof: It was used before.
    """
    connection = await session.connection()
    try:
        (used,) = await connection.run_sync(spend_all, [proof])
    except IntegrityError:
        used = True
    if used:
        raise InvalidProof("proof: its jti was used before")
