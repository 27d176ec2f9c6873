"""Proofs of possession work once on every route that changes something.

The marks are rows, written in the transaction of the change: they hold across replicas and
restarts, and a change that isn't committed uses nothing up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.dpop import WINDOW_SECONDS, Proof
from authsvc.errors import InvalidProof
from authsvc.server.models import ProofUse

__all__ = ["insert_into", "spend", "spend_all"]

_proofs = ProofUse.__table__  # type: ignore[attr-defined]


def insert_into(session: AsyncSession, table: Any) -> Any:
    """An INSERT of the session's own database, which knows ``ON CONFLICT``."""
    dialect = session.get_bind().dialect.name
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def _digest(proof: Proof) -> bytes:
    # A jti is unique only among the proofs of one key.
    return hashlib.sha256(proof.public_key.raw + proof.jti.encode()).digest()


async def spend_all(session: AsyncSession, proofs: Sequence[Proof]) -> list[bool]:
    """Write down every proof; True for each that was used before, here or earlier."""
    digests = [_digest(proof) for proof in proofs]
    entries: dict[bytes, dict[str, object]] = {}
    first: list[bool] = []
    for digest, proof in zip(digests, proofs, strict=True):
        first.append(digest not in entries)
        ends = int(proof.issued_at) + 2 * WINDOW_SECONDS
        entries.setdefault(digest, {"digest": digest, "expires_at": ends})
    statement = insert_into(session, _proofs).on_conflict_do_nothing().returning(_proofs.c.digest)
    written = set(await session.scalars(statement, list(entries.values())))
    return [not (fresh and digest in written) for digest, fresh in zip(digests, first, strict=True)]


async def spend(session: AsyncSession, proof: Proof) -> None:
    """Use a proof up.

    Raises:
        InvalidProof: It was used before.
    """
    if (await spend_all(session, [proof]))[0]:
        raise InvalidProof("proof: its jti was used before")
