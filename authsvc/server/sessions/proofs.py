"""Proofs of possession work once on every route that changes something.

The marks are rows, written in the transaction of the change: they hold across replicas and
restarts, and a change that isn't committed uses nothing up. A row's key is the proof's own time
and a digest of its key and ``jti``, so rows are written one after another; a random key would
touch as many pages of the database as there are rows.

A replay is the same proof, and so has the same time. Whoever holds the nkey could sign a ``jti``
again with another time; each process remembers the proofs of the last minutes and refuses that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, LargeBinary, any_, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.dpop import WINDOW_SECONDS, Proof
from authsvc.errors import InvalidProof
from authsvc.server.database import Database
from authsvc.server.models import UsedProof

__all__ = ["SPEND", "Marks", "SpentProofs", "select_marks", "write_marks"]

_proofs = UsedProof.__table__  # type: ignore[attr-defined]
_TIME_BYTES = 8
_DIGEST_BYTES = 16

_sqlite = sqlite.insert(_proofs).on_conflict_do_nothing().returning(_proofs.c.mark)
# One parameter for all rows: a row each would be a statement of its own for each number of rows.
_marks = bindparam("marks", type_=postgresql.ARRAY(LargeBinary))
SPEND = (
    postgresql.insert(_proofs)
    .from_select(["mark"], select(func.unnest(_marks)))
    .on_conflict_do_nothing()
    .returning(_proofs.c.mark)
)
"""For PostgreSQL: uses up ``marks``, and returns those that were not used before."""
select_marks = select(_proofs.c.mark).where(_proofs.c.mark == any_(_marks))
"""For PostgreSQL: those of ``marks`` that were used before."""
_select_all = select(_proofs.c.mark)
_forget = _proofs.delete().where(_proofs.c.mark < bindparam("oldest"))


def _mark(proof: Proof) -> bytes:
    # A jti is unique only among the proofs of one key.
    digest = hashlib.sha256(proof.public_key.raw + proof.jti.encode()).digest()
    return int(proof.issued_at).to_bytes(_TIME_BYTES) + digest[:_DIGEST_BYTES]


class Marks(NamedTuple):
    """Marks of proofs that are to be used up.

    Args:
        given: In the order of the proofs.
        ordered: What is to be written, each once.
        doubtful: Of these, what this process has met before.
    """

    given: Sequence[bytes]
    ordered: Sequence[bytes]
    doubtful: Sequence[bytes]

    def used(self, new: Iterable[bytes]) -> list[bool]:
        """For each proof, whether it was used before, here or earlier.

        Args:
            new: What was written.
        """
        left, found = set(new), []
        for mark in self.given:
            found.append(mark not in left)
            left.discard(mark)
        return found


def write_marks(connection: Connection, ordered: Sequence[bytes]) -> set[bytes]:
    """Use marks up; those that were not used before come back.

    Args:
        connection: In a transaction.
        ordered: Each once, in order.
    """
    if not ordered:
        return set()
    if connection.dialect.name == "sqlite":
        return set(connection.scalars(_sqlite, [{"mark": mark} for mark in ordered]))
    return set(connection.scalars(SPEND, {"marks": ordered}))


class SpentProofs:
    """The proofs that were used, in the database and in this process's memory."""

    def __init__(self) -> None:
        self._times: dict[bytes, bytes] = {}

    async def start(self, database: Database) -> None:
        """Remember what was used before this process began.

        Raises:
            StoreUnavailable: The database can't be read.
        """
        async with database.reading() as session:
            for mark in (await session.scalars(_select_all)).all():
                self._times[mark[_TIME_BYTES:]] = mark[:_TIME_BYTES]

    async def forget(self, session: AsyncSession, now: float) -> None:
        """Forget proofs that are refused for their age by now (seconds since the epoch)."""
        oldest = (int(now) - 2 * WINDOW_SECONDS).to_bytes(_TIME_BYTES)
        await session.execute(_forget, {"oldest": oldest})
        for digest in [digest for digest, at in self._times.items() if at < oldest]:
            del self._times[digest]

    def mark_all(self, proofs: Sequence[Proof]) -> Marks:
        """The proofs' marks, without those of which the ``jti`` is known with another time."""
        marks = [_mark(proof) for proof in proofs]
        new: set[bytes] = set()
        doubtful = []
        for mark in marks:
            time, digest = mark[:_TIME_BYTES], mark[_TIME_BYTES:]
            known = self._times.setdefault(digest, time)
            if known is not time:
                if known != time:
                    continue
                doubtful.append(mark)
            new.add(mark)
        # In one order of rows all transactions wait for one another, and none for ever.
        return Marks(marks, sorted(new), doubtful)

    async def spend(self, session: AsyncSession, proof: Proof) -> None:
        """Use a proof up.

        Raises:
            InvalidProof: It was used before.
        """
        marks = self.mark_all([proof])
        connection = await session.connection()
        (used,) = marks.used(await connection.run_sync(write_marks, marks.ordered))
        if used:
            raise InvalidProof("proof: its jti was used before")
