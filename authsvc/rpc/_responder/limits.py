"""How many requests of one handler run at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._loops.workers import aside
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.app import problem

__all__ = ["MOST_WAITING", "limited"]

MOST_WAITING = 4096
"""How many requests may wait for one handler; more are answered with 503."""

Call = Callable[[Request, Threads], Awaitable[Response]]


class Counted(Protocol):
    """Where answers that a limit gives are counted."""

    rejected: int
    expired: int


class _Places:
    """Places that are handed on in the order they were asked for."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def full(self) -> bool:
        """Whether no more may wait."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting = deque(place for place in self._waiting if not place.done())
        return len(self._waiting) >= MOST_WAITING

    def take(self) -> bool:
        """Take a place, if there is one now."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self) -> None:
        """Wait for a place, and have it."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            # Cancelled: it may have been handed over in the same moment.
            if place.done() and not place.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Hand a place on."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


def limited(call: Call, limit: int, stats: Counted) -> Call:
    """The same call, of which so many run at a time.

    Those that wait stand aside: they take nothing away from the requests of other handlers.

    Args:
        call: What is limited.
        limit: How many.
        stats: Where 503 and 419 are counted.

    Raises:
        ValueError: ``limit`` is below 1.
    """
    if limit < 1:
        raise ValueError("limit is at least 1")
    places = _Places(limit)

    async def run(request: Request, threads: Threads) -> Response:
        taken = places.take()
        if not taken and places.full:
            stats.rejected += 1
            return problem(503, "too many requests wait for this handler", {"retry-after": "1"})
        try:
            if not taken:
                async with aside():
                    await places.wait()
                    taken = True
                if not request.remaining():
                    stats.expired += 1
                    return problem(419, "the request expired before it was handled")
            return await call(request, threads)
        finally:
            if taken:
                places.give()

    return run
