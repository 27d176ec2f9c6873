"""From what the database says to what every nats-server holds.

A change raises its account's revision and commits; ``propagate`` then waits for a round that began
after it. A round makes a new account JWT where the revision rose (``iat`` strictly rising, the row
locked), pushes it, counts the answers against the servers that are alive, and looks the JWT up
again, because a server answers 200 for an older one too. Start-up, a server that appears and a
timer call the same round. Nothing else pushes.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog
from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import decode_account
from authsvc.errors import AuthsvcError
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, ServerState
from authsvc.server.provision.account_jwts import make_account_jwt
from authsvc.server.provision.resolver import Answer, Server

__all__ = ["Holding", "Propagation", "Reconciler"]

INTERVAL_SECONDS = 30.0
WAIT_SECONDS = 5.0
_RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0)
log = structlog.get_logger("authsvc.reconcile")


class ResolverLike(Protocol):
    """What of ``resolver.Resolver`` is used here."""

    @property
    def connected(self) -> bool:
        """Whether a server can be asked now."""

    async def servers(self) -> list[Server]:
        """The servers that are alive."""

    async def push(self, jwt: str) -> list[Answer]:
        """Hand an account JWT to all of them."""

    async def lookup(self, account: str) -> str | None:
        """The account JWT that the servers use."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Whether one nats-server holds the newest account JWT."""

    id: str
    name: str
    applied: bool


@dataclass(frozen=True, slots=True)
class Propagation:
    """How far a change has come; ``applied`` only when every live server confirmed."""

    state: Literal["applied", "pending"]
    servers: list[Holding] = field(default_factory=list)


def _unconfirmed(last: Propagation) -> Propagation:
    return Propagation("pending", [Holding(it.id, it.name, applied=False) for it in last.servers])


class Reconciler:
    """Keeps every nats-server at what the database says.

    Args:
        database: Where accounts and revocations are.
        keystore: Opens the operator's signing key.
        resolver: The way to the servers; None where there is none, then everything stays pending.
        interval: Seconds between rounds that nothing asked for.
    """

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        resolver: ResolverLike | None,
        *,
        interval: float = INTERVAL_SECONDS,
    ) -> None:
        self._database = database
        self._keystore = keystore
        self._resolver = resolver
        self._interval = interval
        self._wanted = asyncio.Event()
        self._begun = 0
        self._done = asyncio.Condition()
        self._ended = 0
        self._last: dict[str, Propagation] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; the first round starts at once."""
        self._wanted.set()
        self._task = asyncio.create_task(self._run(), name="authsvc-reconcile")

    async def stop(self) -> None:
        """End; a round that runs is given up."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def nudge(self) -> None:
        """Ask for a round without waiting for it."""
        self._wanted.set()

    @property
    def connected(self) -> bool:
        """Whether a nats-server can be reached now."""
        return self._resolver is not None and self._resolver.connected

    @property
    def current(self) -> dict[str, Propagation]:
        """What the last round found, by account id."""
        return dict(self._last)

    async def propagate(self, account_id: str, wait: float = WAIT_SECONDS) -> Propagation:
        """Wait until a change that is committed already holds everywhere, up to a bound.

        Args:
            account_id: The account that was changed.
            wait: Seconds.
        """
        needed = self._begun + 1
        self._wanted.set()
        try:
            async with asyncio.timeout(wait), self._done:
                await self._done.wait_for(
                    lambda: (
                        self._ended >= needed
                        and self._last.get(account_id, Propagation("pending")).state == "applied"
                    )
                )
        except TimeoutError:
            last = self._last.get(account_id)
            if self._ended >= needed and last is not None:
                return last
            return _unconfirmed(last) if last else Propagation("pending")
        return self._last[account_id]

    async def _run(self) -> None:
        failures = 0
        while True:
            pause = self._interval
            if failures:
                pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            self._wanted.clear()
            self._begun += 1
            try:
                found = await self._round()
            except Exception as error:
                if isinstance(error, AuthsvcError):
                    log.warning("round failed", error=str(error))
                else:
                    log.exception("round failed", error=type(error).__name__)
                # What an earlier round found must not pass for what this one did.
                found = {key: _unconfirmed(last) for key, last in self._last.items()}
            self._last = found
            complete = bool(found) and all(item.state == "applied" for item in found.values())
            failures = 0 if complete else failures + 1
            async with self._done:
                self._ended = self._begun
                self._done.notify_all()

    async def _round(self) -> dict[str, Propagation]:
        servers = await self._resolver.servers() if self._resolver else []
        async with self._database.reading() as session:
            ids = list(await session.scalars(select(col(Account.id)).order_by(col(Account.kind))))
        return {account_id: await self._alone(account_id, servers) for account_id in ids}

    async def _alone(self, account_id: str, servers: list[Server]) -> Propagation:
        """One account, one writer at a time among all replicas."""
        if self._database.is_sqlite:
            return await self._account(account_id, servers)
        async with self._database.reading() as session:
            # Held until the push is confirmed, so that an older JWT can't overtake a newer one.
            await session.execute(
                text("select pg_advisory_xact_lock(hashtext(:key))"), {"key": account_id}
            )
            return await self._account(account_id, servers)

    async def _account(self, account_id: str, servers: list[Server]) -> Propagation:
        async with self._database.writing() as session:
            account = await session.get_one(Account, account_id, with_for_update=True)
            if account.published_revision != account.revision:
                await make_account_jwt(session, self._keystore, account, int(time.time()))
            jwt, issued_at, public_key = account.jwt, account.issued_at, account.public_key
            states = await session.scalars(
                select(ServerState).where(col(ServerState.account_id) == account_id)
            )
            held = {state.server_id: state.issued_at for state in states}
        if servers and any(held.get(server.id) != issued_at for server in servers):
            held = await self._push(account_id, public_key, jwt, issued_at)
        holding = [
            Holding(server.id, server.name, held.get(server.id) == issued_at) for server in servers
        ]
        applied = bool(holding) and all(item.applied for item in holding)
        return Propagation("applied" if applied else "pending", holding)

    async def _push(
        self, account_id: str, public_key: str, jwt: str, issued_at: int
    ) -> dict[str, int]:
        if self._resolver is None:
            return {}
        answers = await self._resolver.push(jwt)
        found = await self._resolver.lookup(public_key)
        if found is None or decode_account(found).issued_at != issued_at:
            log.warning("a server uses another account JWT", account=public_key)
            return {}
        for answer in answers:
            if not answer.applied:
                log.warning("not applied", server=answer.name, error=answer.error)
        held = {answer.server_id: issued_at for answer in answers if answer.applied}
        now = int(time.time())
        async with self._database.writing() as session:
            await self._write_states(session, account_id, answers, issued_at, now)
        return held

    @staticmethod
    async def _write_states(
        session: AsyncSession, account_id: str, answers: list[Answer], issued_at: int, now: int
    ) -> None:
        applied = [answer for answer in answers if answer.applied]
        # Servers get a new id at every start: what was not heard of for long is gone.
        await session.execute(
            delete(ServerState)
            .where(col(ServerState.account_id) == account_id)
            .where(col(ServerState.server_id).in_([answer.server_id for answer in applied]))
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
