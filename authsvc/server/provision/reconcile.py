"""From what the database says to what every nats-server holds.

A change raises its account's revision and commits; ``propagate`` then waits for a round that began
after it. A round makes a new account JWT where the revision rose (``iat`` strictly rising, the row
locked), pushes it, counts the answers against the servers that are alive, and looks the JWT up
again, because a server answers 200 for an older one too; ``publish`` has that. Start-up, a server
that appears, a timer and the command line call the same round. Beside it, ``drift`` looks at what
servers hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy import select
from sqlmodel import col

from authsvc.errors import AuthsvcError
from authsvc.server import metrics
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account
from authsvc.server.provision.drift import Drift
from authsvc.server.provision.propagation import Holding, Propagation
from authsvc.server.provision.publish import Publisher, ResolverLike, Stand
from authsvc.server.provision.tasks import end

__all__ = ["Holding", "Propagation", "Reconciler"]

INTERVAL_SECONDS = 10.0
WAIT_SECONDS = 5.0
_AWAY_SECONDS = 1.0
"""How long changes wait for a connection that was lost, which may be found to another server."""
_RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 3.0)
log = structlog.get_logger("authsvc.reconcile")


class Reconciler:
    """Keeps every nats-server at what the database says.

    Args:
        database: Where accounts and revocations are.
        keystore: Opens the operator's signing key.
        resolver: The way to the servers; None where there is none, then everything stays pending.
        interval: Seconds between rounds that nothing asked for.
        noted: Told what each account's rows say, in each round.
    """

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        resolver: ResolverLike | None,
        *,
        interval: float = INTERVAL_SECONDS,
        noted: Callable[[Stand], None] = lambda _stand: None,
    ) -> None:
        self._database = database
        self._resolver = resolver
        self._interval = interval
        self._publisher = Publisher(database, keystore, resolver, noted)
        self.drift = Drift(database, self._publisher, resolver) if resolver else None
        self._wanted = asyncio.Event()
        self._asked: set[str] = set()
        self._all = False
        self._force = False
        self._begun = 0
        self._done = asyncio.Condition()
        self._ended: defaultdict[str, int] = defaultdict(int)
        self._last: dict[str, Propagation] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin; the first round starts at once."""
        self.nudge()
        self._tasks = [
            asyncio.create_task(self._run(), name="authsvc-reconcile"),
            asyncio.create_task(self._watch(), name="authsvc-drift"),
        ]

    async def stop(self) -> None:
        """End; a round that runs is given up."""
        await end(self._tasks)
        self._tasks = []

    def nudge(self) -> None:
        """Ask for a round over all accounts without waiting for it."""
        self._all = True
        self._wanted.set()

    @property
    def connected(self) -> bool:
        """Whether a nats-server can be reached now."""
        return self._resolver is not None and self._resolver.connected

    @property
    def current(self) -> dict[str, Propagation]:
        """What the last round found, by account id."""
        return dict(self._last)

    @property
    def disbelieved(self) -> dict[str, list[str]]:
        """By account id, the servers that do not trust who signed it; see ``owners``."""
        return self._publisher.owners.disbelieved

    @property
    def awake(self) -> set[str]:
        """The ids of the servers that answer."""
        return self._resolver.awake() if self._resolver else set()

    @property
    def resolver(self) -> ResolverLike | None:
        """The way to the servers, to be asked about them."""
        return self._resolver

    async def propagate(self, account_id: str, wait: float | None = None) -> Propagation:
        """Wait until a change that is committed already holds everywhere, up to a bound.

        Args:
            account_id: The account that was changed.
            wait: Seconds; if None, five, but none where waiting can't help: there is no connection
                since a while, or the servers that lack it don't answer at all.
        """
        began = time.perf_counter()
        found = await self._settled(account_id, wait)
        seconds = time.perf_counter() - began
        metrics.PROPAGATION_SECONDS.labels(found.state).observe(seconds)
        return found

    async def _settled(self, account_id: str, wait: float | None) -> Propagation:
        needed = self._begun + 1
        self._asked.add(account_id)
        self._wanted.set()
        patient = wait is not None
        if wait is None:
            wait = WAIT_SECONDS if await self._reachable() else 0

        def settled() -> bool:
            last = self._last.get(account_id, Propagation("pending", hopeful=True))
            stuck = not patient and not last.hopeful
            return self._ended[account_id] >= needed and (last.state == "applied" or stuck)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), self._done:
                await self._done.wait_for(settled)
        last = self._last.get(account_id, Propagation("pending"))
        return last if self._ended[account_id] >= needed else last.unconfirmed()

    async def _reachable(self) -> bool:
        if self._resolver is None or self._resolver.away > _AWAY_SECONDS:
            return False
        return await self._resolver.connect(_AWAY_SECONDS)

    async def push(self) -> dict[str, Propagation]:
        """Push every account to every server, whatever they confirmed, and wait for the answers.

        Returns:
            How far each account has come, by its id.
        """
        if self.drift is not None and self.connected:
            await self.drift.look()
        self._force = True
        async with self._database.reading() as session:
            ids = list(await session.scalars(select(col(Account.id)).order_by(col(Account.kind))))
        return dict(zip(ids, await asyncio.gather(*map(self.propagate, ids)), strict=True))

    async def _run(self) -> None:
        failures = 0
        while True:
            pause = self._interval
            if failures:
                pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS)) - 1]
            try:
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            except TimeoutError:
                self._all = True
            self._wanted.clear()
            self._begun += 1
            if not await _logged("round", self._round):
                for account_id, last in list(self._last.items()):
                    await self._found(account_id, last.unconfirmed())
            states = {item.state for item in self._last.values()}
            failures = 0 if states == {"applied"} else failures + 1
            self._all = failures > 0

    async def _watch(self) -> None:
        while self.drift is not None:
            await asyncio.sleep(self._interval)
            if await _logged("look for drift", self.drift.look):
                self.nudge()

    async def _round(self) -> bool:
        asked, everything, force = self._asked, self._all, self._force
        self._asked, self._all, self._force = set(), False, False
        async with self._database.reading() as session:
            changed = col(Account.revision) != col(Account.published_revision)
            rows = await session.execute(
                select(col(Account.id), changed.label("changed")).order_by(col(Account.kind))
            )
            accounts = {row.id: bool(row.changed) or force for row in rows}
        # What changed goes out first: somebody waits for it, or must be cut off.
        fresh = any(accounts.values())
        for account_id in sorted(accounts, key=lambda key: not accounts[key]):
            if accounts[account_id]:
                await self._publish(account_id, force=force)
            elif everything or account_id in asked:
                await self._publish(account_id, fresh=fresh)
                fresh = True
        return True

    async def _publish(self, account_id: str, *, fresh: bool = False, force: bool = False) -> None:
        found = await _logged(
            f"publishing {account_id}",
            lambda: self._publisher.publish(account_id, fresh=fresh, force=force),
        )
        if found is None:
            # What an earlier round found must not pass for what this one did.
            found = self._last.get(account_id, Propagation("pending")).unconfirmed()
        await self._found(account_id, found)

    async def _found(self, account_id: str, found: Propagation) -> None:
        async with self._done:
            self._last[account_id] = found
            self._ended[account_id] = self._begun
            self._done.notify_all()


_Found = TypeVar("_Found")


async def _logged(what: str, deed: Callable[[], Awaitable[_Found]]) -> _Found | None:
    """Do it; what goes wrong is logged, and done again in a while."""
    try:
        return await deed()
    except Exception as error:
        if isinstance(error, AuthsvcError):
            log.warning("failed", what=what, error=str(error))
        else:
            log.exception("failed", what=what, error=type(error).__name__)
        return None
