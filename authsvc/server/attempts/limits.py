"""The limits themselves, as each replica keeps them.

    attempt = await limits.begin("203.0.113.9", lambda: "alice@example.com", request_id, now)
    try:
        identity = await method.verify(token, now)
    except InvalidToken:
        await attempt.failed()      # raises TooManyRequests in its place, from the limit on
        raise

A login that succeeds writes nothing for this. Failures are written when they happen. Tries are
counted in memory and told to the other replicas in parts, each second or when a sixteenth of the
limit has come together, and one by one from half of it on: so what passes above the limit is what
the other replicas took in a second, a sixteenth of the limit each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from authsvc.errors import StoreUnavailable, TooManyRequests
from authsvc.server import audit, metrics
from authsvc.server.attempts.counting import Addition, Count, add
from authsvc.server.attempts.networks import network
from authsvc.server.database import Database
from authsvc.server.group_commit import GroupCommit

__all__ = ["FAILURE_SECONDS", "RATE_SECONDS", "Attempt", "AttemptLimits", "refusal"]

FAILURE_SECONDS = 15 * 60
RATE_SECONDS = 60
_SHARE_SECONDS = 1.0
_PARTS = 16
_MOST = 50_000
_MAX_CHARS = 254
log = structlog.get_logger("authsvc")


@dataclass(slots=True)
class _Window:
    """Tries from one address.

    Args:
        ends_at: Seconds since the epoch.
        known: What all replicas have counted, as far as this one knows.
        own: What came here and was not told to the others yet.
        context: Of the newest try, for the audit.
    """

    ends_at: int
    context: audit.Context
    known: int = 0
    own: int = 0
    refused: bool = False


class Attempt:
    """One try to sign in that may go on.

    Args:
        limits: Where a failure is counted.
        identity: As whom, as far as can be known before it is proven.
        context: Of the request.
        mark: Under what failures are counted; None where they aren't.
        now: Seconds since the epoch.
    """

    __slots__ = ("_context", "_identity", "_limits", "_now", "mark")

    def __init__(
        self,
        limits: AttemptLimits,
        identity: str,
        context: audit.Context,
        mark: bytes | None,
        now: float,
    ) -> None:
        self._limits = limits
        self._identity = identity
        self._context = context
        self._now = now
        self.mark = mark

    async def failed(self) -> None:
        """Count a failure.

        Raises:
            TooManyRequests: There were too many before.
        """
        if self.mark is not None:
            await self._limits.failed(self.mark, self._identity, self._context, self._now)


class AttemptLimits:
    """How often somebody may try to sign in.

    Args:
        database: Where replicas share what they count.
        failures: Of one identity from one address in a quarter of an hour.
        rate: Tries from one address in a minute.
    """

    def __init__(self, database: Database, *, failures: int, rate: int) -> None:
        self._failures = failures
        self._rate = rate
        self._windows: dict[str, _Window] = {}
        self._closed: dict[bytes, int] = {}
        self._group: GroupCommit[Addition, Count] = GroupCommit(database, add)
        self._sharing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell the other replicas."""
        self._sharing = asyncio.create_task(self._share_often(), name="authsvc-attempts")

    async def stop(self) -> None:
        """End; what was counted is told."""
        if self._sharing is not None:
            self._sharing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sharing
        await self._share_all()
        await self._group.stop()

    async def begin(
        self,
        address: str,
        identity: Callable[[], str],
        request_id: str,
        now: float,
        *,
        rated: bool = True,
    ) -> Attempt:
        """Take a try down.

        Args:
            address: Where it comes from.
            identity: Tells as whom, as far as can be known before it is proven.
            request_id: For the audit.
            now: Seconds since the epoch.
            rated: Whether it counts as one of the address's.

        Raises:
            TooManyRequests: A limit is reached.
            StoreUnavailable: The other replicas can't be asked.
        """
        context = audit.Context(audit.Actor("service", "authsvc"), request_id, address)
        counted = network(address)
        if counted is None:
            return Attempt(self, "", context, None, now)
        if rated:
            await self._count(counted, context, now)
        found = identity().strip().lower()[:_MAX_CHARS]
        mark = _mark("failures", found, counted)
        ends_at = self._closed.get(mark, 0)
        if ends_at > now:
            raise refusal("failures", ends_at, now)
        return Attempt(self, found, context, mark, now)

    async def failed(self, mark: bytes, identity: str, context: audit.Context, now: float) -> None:
        """Count a failure; see ``Attempt.failed``."""
        details = {
            "limit": "failures",
            "identity": identity if identity.isprintable() else "",
            "bound": self._failures,
            "seconds": FAILURE_SECONDS,
        }
        try:
            found = await self._group.submit(
                Addition(
                    mark=mark,
                    number=1,
                    now=int(now),
                    seconds=FAILURE_SECONDS,
                    bound=self._failures,
                    event=_event(context, details, now),
                )
            )
        except StoreUnavailable as error:
            # Nobody comes in meanwhile; what was wrong with the token is the better answer.
            log.warning("a failed login was not counted", error=str(error))
            return
        if found.number >= self._failures:
            self._closed[mark] = found.ends_at
        if found.number > self._failures:
            raise refusal("failures", found.ends_at, now) from None

    async def _count(self, counted: str, context: audit.Context, now: float) -> None:
        window = self._windows.get(counted)
        if window is None or window.ends_at <= now:
            window = self._windows[counted] = _Window(int(now) + RATE_SECONDS, context)
        window.context = context
        if window.known + window.own >= self._rate:
            if not window.refused:  # told once, so that the one that is too many is counted
                window.refused = True
                window.own += 1
                await self._share(counted, window, now)
            raise refusal("rate", window.ends_at, now)
        window.own += 1
        if window.own * _PARTS >= self._rate or (window.known + window.own) * 2 >= self._rate:
            place = await self._share(counted, window, now)
            if place > self._rate:
                window.refused = True
                raise refusal("rate", window.ends_at, now)

    async def _share(self, counted: str, window: _Window, now: float) -> int:
        """Tell what was counted here; the place of the newest try in all that were."""
        number, window.own = window.own, 0
        window.known += number
        details = {"limit": "rate", "network": counted, "bound": self._rate}
        try:
            found = await self._group.submit(
                Addition(
                    mark=_mark("rate", "", counted),
                    number=number,
                    now=int(now),
                    seconds=RATE_SECONDS,
                    bound=self._rate + 1,
                    event=_event(window.context, {**details, "seconds": RATE_SECONDS}, now),
                )
            )
        except BaseException:
            window.known -= number
            window.own += number
            raise
        window.known = max(found.number, window.known)
        window.ends_at = found.ends_at
        return found.number

    async def _share_often(self) -> None:
        while True:
            await asyncio.sleep(_SHARE_SECONDS)
            try:
                await self._share_all()
            except Exception as error:
                log.exception("attempts not shared", error=type(error).__name__)

    async def _share_all(self) -> None:
        now = time.time()
        for counted, window in list(self._windows.items()):
            if window.ends_at <= now or len(self._windows) > _MOST:
                del self._windows[counted]
        self._closed = {mark: at for mark, at in self._closed.items() if at > now}
        due = [(key, window) for key, window in self._windows.items() if window.own]
        outcomes = await asyncio.gather(
            *(self._share(key, window, now) for key, window in due), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, StoreUnavailable):
                log.warning("attempts not shared", error=str(outcome))
                break
            if isinstance(outcome, Exception):
                raise outcome


def _mark(kind: str, identity: str, counted: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{identity}\0{counted}".encode()).digest()[:16]


def _event(context: audit.Context, details: dict[str, Any], now: float) -> dict[str, Any]:
    return audit.event(
        context, "login.limited", "address", context.address, details, int(now * 1000)
    )


def refusal(limit: str, ends_at: int, now: float) -> TooManyRequests:
    """What is raised, and counted, where a limit is reached.

    Args:
        limit: ``failures`` or ``rate``.
        ends_at: When its window ends, in seconds since the epoch.
        now: Seconds since the epoch.
    """
    metrics.LIMITED.labels(limit).inc()
    seconds = max(1, int(ends_at - now) + 1)
    if limit == "rate":
        why = "too many tries to sign in from this address"
    else:
        why = "too many failed tries to sign in as this identity from this address"
    return TooManyRequests(f"{why}; try again in {seconds} s", seconds)
