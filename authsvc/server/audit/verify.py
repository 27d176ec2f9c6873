"""Whether the audit is what was sealed; and if not, where not.

    async with snapshot(database) as session:
        report = await verify(session, keystore)

Seals and events are walked side by side, page by page, so that memory is bounded whatever the
audit's size. What it can't see: an event that was changed before it was sealed, seconds after it
was written; and a whole database put back to an earlier state, unless a link of the chain that
was kept elsewhere is expected.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import KeyUnavailable
from authsvc.server.audit import chain
from authsvc.server.audit.anchor import Head, open_head, open_key
from authsvc.server.audit.walk import Cursor, Event, pages_of_events, pages_of_seals
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import AuditEvent, AuditSeal

__all__ = ["MAX_PROBLEMS", "Problem", "Report", "snapshot", "verify"]

MAX_PROBLEMS = 1000
"""That are listed; all are counted."""

Kind = Literal[
    "event-changed",
    "event-removed",
    "event-inserted",
    "batch-removed",
    "seal-changed",
    "seal-removed",
    "chain-cut",
    "chain-forked",
    "secret-unusable",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it was sealed."""

    kind: Kind
    detail: str
    batch: int | None = None
    seq: int | None = None
    id: str | None = None


@dataclass(slots=True)
class Report:
    """What was found."""

    batches: int = 0
    events: int = 0
    """Sealed, and there."""
    dropped: int = 0
    """Sealed, and removed by retention."""
    unsealed: int = 0
    first_sealed_at: int | None = None
    """Seconds since the epoch: how far back the chain goes."""
    head: Head | None = None
    problems: list[Problem] = field(default_factory=list)
    found: int = 0
    """How many problems, listed or not."""

    @property
    def ok(self) -> bool:
        """Whether everything that was sealed is as it was."""
        return not self.found

    def add(self, problem: Problem) -> None:
        """Count a problem, and list it while there are few."""
        self.found += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[AsyncSession]:
    """A session that reads one state of the database and can't write.

    Raises:
        StoreUnavailable: The database can't be used now.
    """
    async with database.reading() as session:
        if not database.is_sqlite:  # there a reading transaction is both already
            options: Any = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            await session.connection(execution_options=options)
        yield session


async def verify(
    session: AsyncSession, keystore: Keystore, expected: tuple[int, str] | None = None
) -> Report:
    """Walk all seals and events.

    Args:
        session: Over one snapshot.
        keystore: With the right master key.
        expected: The batch and digest of a seal that was noted earlier and elsewhere.
    """
    report = Report()
    unsealed = select(func.count()).where(col(AuditEvent.batch).is_(None))
    report.unsealed = await session.scalar(unsealed) or 0
    try:
        key = await open_key(session, keystore)
    except KeyUnavailable as error:
        if expected is None and await _nothing_there(session):
            return report
        report.add(Problem("secret-unusable", f"the audit's key can't be used: {error}"))
        return report
    try:
        report.head = await open_head(session, keystore)
    except (KeyUnavailable, ValueError, TypeError) as error:
        report.add(Problem("secret-unusable", f"the audit's head can't be used: {error}"))
    walk = _Walk(session, key, report, expected)
    await walk.run()
    return report


async def _nothing_there(session: AsyncSession) -> bool:
    """Whether no service has opened this database: the first thing it makes is the key."""
    for table in (AuditEvent, AuditSeal):
        if await session.scalar(select(func.count()).select_from(table)):
            return False
    return True


class _Walk:
    """Seals and events side by side, both in the order of their batches."""

    def __init__(
        self,
        session: AsyncSession,
        key: bytes,
        report: Report,
        expected: tuple[int, str] | None,
    ) -> None:
        self._key = key
        self._report = report
        self._expected = expected
        self._seals = pages_of_seals(session)
        self._events = Cursor(pages_of_events(session))
        self._last = (0, chain.FIRST)

    async def run(self) -> None:
        await self._events.step()
        async for seal in self._seals:
            batch: Any = seal.batch
            if not isinstance(batch, int):  # SQLite keeps anything in any column
                self._problem("seal-changed", f"there is no batch {batch!r}")
                continue
            await self._strangers(before=seal.batch)
            self._link(seal)
            await self._batch(seal)
        await self._strangers(before=None)
        self._end()

    async def _strangers(self, before: int | None) -> None:
        """Events that claim a batch which has no seal; one problem for each batch."""
        claimed: Any = None
        while (event := self._events.current) is not None:
            if before is not None and isinstance(event.batch, int) and event.batch >= before:
                return
            if event.batch != claimed:
                claimed = event.batch
                text = f"it claims batch {claimed}, which has no seal"
                self._problem("event-inserted", text, event=event)
            await self._events.step()

    def _link(self, seal: AuditSeal) -> None:
        batch, previous = self._last
        link = chain.Link(
            batch=seal.batch,
            first_seq=seal.first_seq,
            last_seq=seal.last_seq,
            count=seal.count,
            newest_at=seal.newest_at,
            sealed_at=seal.sealed_at,
            previous=seal.previous,
            root=seal.root,
        )
        if seal.batch != batch + 1:
            gone = f"batch {batch + 1}" + (
                f" to {seal.batch - 1}" if seal.batch > batch + 2 else ""
            )
            text = f"the seal of {gone} is missing"
            self._problem("seal-removed", text, batch=batch + 1)
        elif seal.previous != previous:
            text = f"it does not continue from the digest of batch {batch}"
            self._problem("chain-forked", text, batch=seal.batch)
        digest = link.digest(self._key)
        if not digest or digest != seal.digest:
            self._problem("seal-changed", "its columns are not those it was made of", seal.batch)
        if self._expected is not None and self._expected[0] == seal.batch:
            if self._expected[1] != seal.digest:
                self._problem("chain-forked", "it is not the seal that is expected", seal.batch)
            self._expected = None
        if self._report.first_sealed_at is None:
            self._report.first_sealed_at = seal.sealed_at
        self._report.batches += 1
        self._last = (seal.batch, seal.digest)

    async def _batch(self, seal: AuditSeal) -> None:
        """The events of a seal against its leaves, both in the order of ``seq``."""
        leaves: Any = iter(())
        if seal.dropped_at is None:
            leaves = chain.unpack(seal.leaves, seal.root)
            if leaves is None:
                text = "its leaves are not those it was made of; its events can't be told apart"
                self._problem("seal-changed", text, seal.batch)
                await self._pass_over(seal.batch)
                return
        else:
            self._check_drop(seal)
        there = 0
        gone: list[int] = []
        for leaf in leaves:
            there += await self._inserted(seal.batch, before=leaf.seq)
            event = self._events.current
            if event is None or event.batch != seal.batch or event.seq != leaf.seq:
                gone.append(leaf.seq)
                continue
            if chain.leaf(self._key, event.columns) != leaf.mac:
                self._problem("event-changed", "it is not what was sealed", event=event)
            there += 1
            self._report.events += 1
            await self._events.step()
        there += await self._inserted(seal.batch, before=None)
        if gone and not there:
            text = f"all of its {len(gone)} events are missing"
            self._problem("batch-removed", text, seal.batch)
            return
        for seq in gone:
            self._problem("event-removed", "an event is missing", seal.batch, seq)

    async def _inserted(self, batch: int, before: int | None) -> int:
        """Events of the batch that it did not have when it was sealed; how many."""
        count = 0
        while (event := self._events.current) is not None and event.batch == batch:
            if before is not None and event.seq >= before:
                break
            self._problem(
                "event-inserted", "it was not there when its batch was sealed", event=event
            )
            count += 1
            await self._events.step()
        return count

    async def _pass_over(self, batch: int) -> None:
        while (event := self._events.current) is not None and event.batch == batch:
            await self._events.step()

    def _check_drop(self, seal: AuditSeal) -> None:
        dropped_at: Any = seal.dropped_at
        proof = chain.drop_mac(self._key, seal.batch, seal.digest, dropped_at)
        if not seal.drop_mac or proof != seal.drop_mac:
            text = "its events were removed, and not by the service's retention"
            self._problem("batch-removed", text, seal.batch)
        else:
            self._report.dropped += seal.count if isinstance(seal.count, int) else 0

    def _end(self) -> None:
        head, (batch, digest) = self._report.head, self._last
        if head is not None and (head.batch, head.digest) != (batch, digest):
            if head.batch > batch:
                text = f"the newest seals are missing: there are {batch}, the head is {head.batch}"
                self._problem("chain-cut", text, batch + 1)
            else:
                text = f"the head is batch {head.batch}, and the newest seal is another one"
                self._problem("chain-forked", text, batch)
        if self._expected is not None:
            text = f"batch {self._expected[0]}, which is expected, is not there"
            self._problem("chain-cut", text, self._expected[0])

    def _problem(
        self,
        kind: Kind,
        detail: str,
        batch: int | None = None,
        seq: int | None = None,
        event: Event | None = None,
    ) -> None:
        if event is None:
            self._report.add(Problem(kind, detail, batch, seq))
            return
        batch = event.batch if isinstance(event.batch, int) else None
        self._report.add(Problem(kind, detail, batch, event.seq, str(event.id)))
