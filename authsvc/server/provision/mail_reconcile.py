"""From mailboxes in the database to streams in nats-server.

    found = await reconciler.settle(token)      # after the commit of a change
    found.state                                 # applied or pending

A change raises the mailbox's revision; whoever made nats-server agree writes the revision down as
applied. So any replica finishes what another one began. A look at the names of all streams, now
and then and whenever a connection opens, finds what was lost with a disk and what belongs to
nobody any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

import structlog

from authsvc.errors import AuthsvcError
from authsvc.server import metrics
from authsvc.server.database import Database
from authsvc.server.provision.jetstream import (
    CONSUMER_NOT_FOUND,
    NO_ROOM,
    STREAM_NOT_FOUND,
    JetStreamRefused,
)
from authsvc.server.provision.mail_rows import (
    all_desired,
    desired_by_token,
    hold,
    note_applied,
    pending_tokens,
)
from authsvc.server.provision.mail_streams import Desired
from authsvc.server.provision.mailbox import Mailboxes, by_token
from authsvc.server.provision.tasks import end

__all__ = ["MailReconciler", "Settled"]

WAIT_SECONDS = 5.0
_AWAY_SECONDS = 1.0
_TICK_SECONDS = 5.0
_LOOK_SECONDS = 30.0
_WHOLE_LOOK_SECONDS = 3600.0
_AT_ONCE = 4
_GONE = frozenset({STREAM_NOT_FOUND, CONSUMER_NOT_FOUND})
_ROUNDS = 5
log = structlog.get_logger("authsvc.mail")


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether nats-server has a mailbox as its rows say.

    Args:
        state: ``applied``, or ``pending`` while it has not.
        detail: Why it has not, for people.
    """

    state: Literal["applied", "pending"]
    detail: str = ""


class MailReconciler:
    """Keeps streams at what the database says.

    Args:
        database: Where mailboxes are.
        mailboxes: Changes streams.
        away: Seconds since there was a connection; 0 while there is one.
        tend: Called in each round, before anything else.
    """

    def __init__(
        self,
        database: Database,
        mailboxes: Mailboxes,
        away: Callable[[], float],
        tend: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._mailboxes = mailboxes
        self._away = away
        self._tend = tend
        self._wanted = asyncio.Event()
        self._whole = True
        self._looked = self._looked_whole = float("-inf")
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Each holds a connection to the database. Who asks waits for no look at everything.
        self._room, self._turns = asyncio.Semaphore(_AT_ONCE), asyncio.Semaphore(_AT_ONCE)
        self._said: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._settling: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="authsvc-mail")

    async def stop(self) -> None:
        """End; what is being changed is given up, and goes on at the next start."""
        tasks = [self._task] if self._task else []
        await end([*tasks, *self._settling])

    @property
    def connected(self) -> bool:
        """Whether nats-server can be reached now."""
        return self._away() == 0

    def nudge(self) -> None:
        """Ask for a look at everything, without waiting for it."""
        self._whole = True
        self._wanted.set()

    async def settle(self, token: str, wait: float = WAIT_SECONDS) -> Settled:
        """Make a mailbox's change, that is committed already, and wait for it.

        Args:
            token: The user's name in subjects.
            wait: Seconds, at most. The change goes on after that.
        """
        if self._away() > _AWAY_SECONDS:
            self._wanted.set()
            return Settled("pending", "nats-server can't be reached")
        task = asyncio.create_task(self._agree_soon(token))
        self._settling.add(task)
        task.add_done_callback(self._forget)
        try:
            async with asyncio.timeout(wait):
                await asyncio.shield(task)
        except TimeoutError:
            return Settled("pending", "nats-server did not answer in time")
        except AuthsvcError as error:
            self._say(token, str(error))
            self._wanted.set()
            return Settled("pending", _reason(error))
        return Settled("applied")

    async def unacknowledged(self, token: str, app: str) -> int | None:
        """How many requests of an app were handed out and not acknowledged, if that is known.

        Args:
            token: The user's name in subjects.
            app: The app's.
        """
        try:
            return await self._mailboxes.unacknowledged(token, app)
        except AuthsvcError:
            return None

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits for it tells; nobody may wait any more

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._tend()
                if self._away() == 0:
                    await self._round()
                self._say("", "")
            except AuthsvcError as error:
                self._say("", str(error))
            except Exception as error:
                log.exception("mailboxes not looked at", error=type(error).__name__)

    async def _round(self) -> None:
        now = time.monotonic()
        whole = self._whole or now - self._looked_whole > _WHOLE_LOOK_SECONDS
        self._whole = False
        if whole or now - self._looked > _LOOK_SECONDS:
            try:
                if whole:
                    await self._mailboxes.watch()
                done = await self._look(whole=whole)
            except BaseException:
                self._whole = self._whole or whole
                raise
            self._looked = now
            await self._mailboxes.measure()
            if whole:
                # One that fails for a reason of its own shall not make all be looked at for ever.
                self._looked_whole = now if done else now - _WHOLE_LOOK_SECONDS + _LOOK_SECONDS
        async with self._database.reading() as session:
            waiting = await pending_tokens(session)
        metrics.MAILBOXES_PENDING.set(len(waiting))
        await self._agree_all(waiting)

    async def _look(self, *, whole: bool) -> bool:
        """Make all mailboxes agree whose streams are others than wanted; by names, or really."""
        # The names first: a stream that is there was wanted by rows that were committed before.
        there = await self._mailboxes.streams()
        async with self._database.reading() as session:
            wanted = {desired.token: desired for desired in await all_desired(session)}
        metrics.MAILBOXES.set(len(wanted))
        found = by_token(there)
        agreeing = await self._mailboxes.agreeing(wanted) if whole else wanted.keys()
        nothing: set[str] = set()
        return await self._agree_all(
            token
            for token in wanted.keys() | found.keys()
            if (token in wanted and token not in agreeing)
            or found.get(token, nothing) != (wanted[token].streams if token in wanted else nothing)
        )

    async def _agree_all(self, tokens: Iterable[str]) -> bool:
        """Whether all of them do now."""
        silent = False

        async def agree(token: str) -> bool:
            nonlocal silent
            async with self._room:
                if silent:
                    return False
                try:
                    await self._agree(token)
                except AuthsvcError as error:
                    # Who does not answer for one, won't for the next.
                    silent = silent or not isinstance(error, JetStreamRefused)
                    self._say(token, str(error))
                    return False
                self._say(token, "")
                return True

        return all(await asyncio.gather(*map(agree, sorted(tokens))))

    def _say(self, token: str, why: str) -> None:
        """Log why something fails, once for each reason."""
        if why and self._said.get(token) != why:
            log.warning("mailbox not changed", token=token, error=why)
        if why:
            self._said[token] = why
        else:
            self._said.pop(token, None)

    async def _agree_soon(self, token: str) -> None:
        async with self._turns:
            await self._agree(token)

    async def _agree(self, token: str) -> None:
        """Let streams agree with rows, as often as rows change meanwhile."""
        lock = self._locks.setdefault(token, asyncio.Lock())
        async with lock, self._alone(token):
            for left in reversed(range(_ROUNDS)):
                desired = await self._read(token)
                try:
                    if desired is None:
                        await self._mailboxes.remove(token)
                    else:
                        await self._mailboxes.apply(desired)
                except JetStreamRefused as error:
                    # Somebody removes under our hands what is to be there.
                    if error.code not in _GONE or not left:
                        raise
                    continue
                if await self._read(token) == desired:
                    break
            if desired is not None and desired.applied < desired.revision:
                async with self._database.writing() as session:
                    await note_applied(session, desired)

    @asynccontextmanager
    async def _alone(self, token: str) -> AsyncIterator[None]:
        """Keep other replicas away: what one makes, another could take for what is to go."""
        if self._database.is_sqlite:  # no replicas share it
            yield
            return
        async with self._database.writing() as session:
            await hold(session, token)
            yield

    async def _read(self, token: str) -> Desired | None:
        async with self._database.reading() as session:
            return await desired_by_token(session, token)


def _reason(error: AuthsvcError) -> str:
    if isinstance(error, JetStreamRefused) and error.code in NO_ROOM:
        return "nats-server has no room for another mailbox"
    return "nats-server did not take the change yet"
