"""One account, from its rows to every nats-server: made, pushed, looked up, written down.

One writer at a time among all replicas, from reading the row to the last answer, so that an older
JWT can't overtake a newer one. Nothing else pushes.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog
from sqlalchemy import delete, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server import metrics, tracing
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.metrics import NatsStatistics
from authsvc.server.models import Account, ServerState
from authsvc.server.provision.account_jwts import make_account_jwt
from authsvc.server.provision.answers import Answer, Server
from authsvc.server.provision.connections import Listed
from authsvc.server.provision.merging import merge_account, newer, trusted_signers
from authsvc.server.provision.owners import Owners
from authsvc.server.provision.propagation import Holding, Propagation
from authsvc.server.provision.resolver import issued_at

__all__ = ["Publisher", "ResolverLike", "Stand"]

_FARTHEST = 1 << 53
"""No ``iat`` above this is outdone: JSON numbers are not exact beyond."""
log = structlog.get_logger("authsvc.publish")


class ResolverLike(Protocol):
    """What of ``resolver.Resolver`` is used here."""

    @property
    def connected(self) -> bool:
        """Whether a server can be asked now."""

    @property
    def error(self) -> str | None:
        """Why not."""

    @property
    def away(self) -> float:
        """Seconds since one could be asked."""

    async def connect(self, wait: float) -> bool:
        """Wait for a connection."""

    async def servers(self) -> list[Server]:
        """The servers that are alive, asked for now."""

    def known(self) -> list[Server]:
        """The same without asking."""

    def awake(self) -> set[str]:
        """The ids of those that owe no answer."""

    def last_seen(self) -> dict[str, float]:
        """When each was heard, by id, in seconds since the epoch."""

    def statistics(self) -> dict[str, NatsStatistics]:
        """What each said of itself last, by name."""

    async def push(self, jwt: str) -> list[Answer]:
        """Hand an account JWT to all of them."""

    async def lookups(self, account: str) -> list[str]:
        """What each of them holds."""

    async def listed(self) -> dict[Server, frozenset[str]]:
        """The accounts that each of them holds."""

    async def operators(self) -> dict[Server, str]:
        """The operator JWT that each of them was started with."""

    async def connections(self, account: str) -> Listed:
        """Who is connected to which of them."""


@dataclass(frozen=True, slots=True)
class Stand:
    """What an account's rows say at one moment.

    Args:
        public_key: The account's.
        jwt: What every server should hold.
        issued_at: Its ``iat``.
        held: The ``iat`` that each server confirmed, by its id.
    """

    public_key: str
    jwt: str
    issued_at: int
    held: dict[str, int]


class Publisher:
    """Makes every server hold what an account's rows say.

    Args:
        database: Where accounts and revocations are.
        keystore: Opens the operator's signing key.
        resolver: The way to the servers; None where there is none.
        noted: Told what an account's rows say, before it is pushed.
    """

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        resolver: ResolverLike | None,
        noted: Callable[[Stand], None] = lambda _stand: None,
    ) -> None:
        self._database = database
        self._keystore = keystore
        self._resolver = resolver
        self._noted = noted
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._outdo: dict[str, int] = {}
        self._compared: set[str] = set()
        self.owners = Owners(database, resolver)

    async def publish(
        self, account_id: str, *, fresh: bool = False, force: bool = False
    ) -> Propagation:
        """Bring an account to every server.

        Args:
            account_id: Which.
            fresh: Whether the servers were asked for just now.
            force: Push even what every server confirmed.
        """
        async with self.alone(account_id):
            return await self.publish_alone(account_id, fresh=fresh, force=force)

    async def publish_alone(
        self, account_id: str, *, fresh: bool = False, force: bool = False
    ) -> Propagation:
        """The same for who is alone with the account already."""
        if account_id in await self.owners.adopted():
            stand = await self.stand(account_id)
            known = -1 if force else stand.issued_at
            await self.owners.look_first(account_id, stand.public_key, known, stand.held)
        elif account_id not in self._compared:
            await self._compare(account_id)
        stand = await self.stand(account_id, make=True)
        self._noted(stand)
        if self._resolver is None:
            return Propagation("pending")
        held = stand.held
        # One that owes an answer is pushed to when it speaks again, or with the next change.
        lacking = {key for key in self._resolver.awake() if held.get(key) != stand.issued_at}
        if not self._resolver.connected:
            # They may hold it, and nobody can say so now.
            held = {}
        elif force or lacking or not self._resolver.known():
            held = await self._push(account_id, stand)
        elif not fresh:
            await self._resolver.servers()
        believe = await self.owners.believers(account_id, stand.jwt)
        holding = [
            Holding(
                server.id,
                server.name,
                held.get(server.id) == stand.issued_at
                and (believe is None or server.id in believe),
            )
            for server in self._resolver.known()
        ]
        lacking = {item.id for item in holding if not item.applied}
        state = Propagation("pending" if lacking or not holding else "applied", holding)
        if lacking & self._resolver.awake():
            return Propagation(state.state, holding, hopeful=True)
        return state

    async def _compare(self, account_id: str) -> None:
        """Before the first push: a database that was put back takes over what ended since."""
        if self._resolver is None or not self._resolver.connected:
            return
        stand = await self.stand(account_id)
        if not await self._resolver.servers():
            return
        found = await self._resolver.lookups(stand.public_key)
        if any(issued_at(jwt) > stand.issued_at for jwt in found):
            told = (await self._resolver.operators()).values()
            async with self._database.writing() as session:
                account = await session.get_one(Account, account_id, with_for_update=True)
                signers = await trusted_signers(session, filter(None, told))
                if ahead := newer(account, found, signers):
                    now = int(time.time())
                    merged = await merge_account(session, self._keystore, account, ahead, now)
                    log.warning("the database is older than what servers hold", merged=merged)
        if found:
            self._compared.add(account_id)

    @asynccontextmanager
    async def alone(self, account_id: str) -> AsyncIterator[None]:
        """Be the only one among all replicas who makes and pushes this account's JWT."""
        async with self._locks[account_id]:
            if self._database.is_sqlite:
                yield
                return
            async with self._database.reading() as session:
                # Held until the push is confirmed.
                await session.execute(
                    text("select pg_advisory_xact_lock(hashtext(:key))"), {"key": account_id}
                )
                yield

    async def stand(self, account_id: str, *, make: bool = False) -> Stand:
        """What the account's rows say.

        Args:
            account_id: Which.
            make: Make its JWT anew if a change asks for it.
        """
        opened = self._database.writing() if make else self._database.reading()
        async with opened as session:
            account = await session.get_one(Account, account_id, with_for_update=make or None)
            if make:
                await self._make(session, account)
            states = await session.scalars(
                select(ServerState).where(col(ServerState.account_id) == account_id)
            )
            held = {state.server_id: state.issued_at for state in states}
            return Stand(account.public_key, account.jwt, account.issued_at, held)

    def outdo(self, account_id: str, found: list[str], stand: Stand) -> None:
        """Let the next JWT be newer than ours and than what servers hold.

        The same one again would not do: nats-server answers 200 and writes nothing where it
        believes that it has it, though the file be gone; and servers copy the newest from each
        other.
        """
        newest = max([stand.issued_at, *map(issued_at, found)])
        if newest < _FARTHEST:
            self._outdo[account_id] = newest
        else:
            log.error("an account JWT is of too far a future to be outdone", account=account_id)

    async def _make(self, session: AsyncSession, account: Account) -> None:
        newest = self._outdo.pop(account.id, 0)
        if account.published_revision != account.revision or newest >= account.issued_at > 0:
            await make_account_jwt(
                session, self._keystore, account, int(time.time()), newer_than=newest
            )

    async def _push(self, account_id: str, stand: Stand) -> dict[str, int]:
        """Push, and look up what came of it.

        Returns:
            The ``iat`` that each server is known to hold.
        """
        if self._resolver is None:
            return {}
        began = time.perf_counter()
        with tracing.span("push account JWT", account=stand.public_key):
            answers = await self._resolver.push(stand.jwt)
        applied = [answer for answer in answers if answer.applied]
        for answer in answers:
            if not answer.applied:
                log.warning("not applied", server=answer.name, error=answer.error)
        if applied and not await self._confirmed(account_id, stand, len(applied)):
            applied = []
        result = "applied" if len(applied) == len(answers) > 0 else "incomplete"
        metrics.PUSH_SECONDS.labels(result).observe(time.perf_counter() - began)
        async with self._database.writing() as session:
            await _write_states(session, account_id, answers, applied, stand.issued_at)
        return {answer.server_id: stand.issued_at for answer in applied}

    async def _confirmed(self, account_id: str, stand: Stand, count: int) -> bool:
        """Whether as many servers as said that they took it show it when they are asked."""
        if self._resolver is None:
            return False
        found = await self._resolver.lookups(stand.public_key)
        # Who answers is not said, so they can only be counted.
        if found.count(stand.jwt) >= count:
            return True
        log.warning("a server uses another account JWT", account=stand.public_key)
        if any(jwt != stand.jwt for jwt in found):
            self.outdo(account_id, found, stand)
        return False


async def _write_states(
    session: AsyncSession,
    account_id: str,
    asked: list[Answer],
    applied: list[Answer],
    issued_at: int,
) -> None:
    now = int(time.time())
    # Servers get a new id at every start: the same name with another id is gone.
    await session.execute(
        delete(ServerState)
        .where(col(ServerState.account_id) == account_id)
        .where(
            or_(
                col(ServerState.server_id).in_([answer.server_id for answer in asked]),
                col(ServerState.name).in_([answer.name for answer in applied]),
            )
        )
    )
    session.add_all(
        ServerState(
            server_id=answer.server_id,
            account_id=account_id,
            name=answer.name,
            issued_at=issued_at,
            seen_at=now,
        )
        for answer in applied
    )
