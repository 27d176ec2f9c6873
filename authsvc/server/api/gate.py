"""Fair refusal: whoever can't be answered in time is told so at once, and the others are answered.

Logins and renewals wait for one another's commits. A burst is taken as it comes. Where more wait
than can be answered soon, and that for half a second on end, it is no burst: from then on only so
many wait as keep everybody's wait within twice the usual one, and the rest are refused before
anything is verified. It ends when nobody had to be refused for a second.

How many may wait follows from how many are answered in a second, so nobody has to know how quick
the machine and its disk are.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

__all__ = ["Gate"]

_PATIENCE_SECONDS = 0.5
_MEASURED_SECONDS = 0.1
_MOST = 1024
_FEWEST = 128
"""A client with a hundred connections at once is no overload, however slow the disk is."""
_FEWEST_SHUT = 16
"""With fewer the desk would be left without work, and who comes evenly would be refused."""
_USUAL = 2
"""Times of the usual wait that an order may wait while others are refused."""
_WEIGHT = 0.2
"""Of the newest measurement."""
log = structlog.get_logger("authsvc")


class Gate:
    """In front of the desk.

    Args:
        waiting: How many orders the desk has.
        queued: How many of them it has not begun with.
        done: How many it has answered since it began.
        usual: Seconds that an order takes there while few wait.
        wait: Seconds that an order may wait once there are too many for long.
        clock: Seconds, from any point.
    """

    def __init__(
        self,
        waiting: Callable[[], int],
        queued: Callable[[], int],
        done: Callable[[], int],
        usual: Callable[[], float],
        *,
        wait: float = 0.25,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._waiting = waiting
        self._queued = queued
        self._done = done
        self._usual = usual
        self._wait = wait
        self._clock = clock
        self._speed = 0.0
        self._calm = 0.0
        """The usual wait when it became too much."""
        self._measured: tuple[float, int] | None = None
        self._full_since: float | None = None
        self._refused_at: float | None = None
        self.shut = False
        """Whether somebody had to be refused lately; asking costs nothing."""
        self.coming = 0
        """How many were let in, and have not got to the desk yet."""

    def lets_in(self) -> bool:
        """Whether one who is still on the way to the desk may wait there.

        Who is let in counts from now on, until ``arrived`` is called.
        """
        if not self.has_room(self.coming):
            return False
        self.coming += 1
        return True

    def arrived(self) -> None:
        """One who was let in has got to the desk, or will not."""
        self.coming -= 1

    def has_room(self, coming: int = 0) -> bool:
        """Whether one more may wait.

        Args:
            coming: How many come before.
        """
        # While it is shut, half of those there may be are under way and half wait: if the desk had
        # all of them in hand at once, it would wait for its disk, and then for somebody to come.
        waiting = 2 * (self._queued() + coming) if self.shut else self._waiting()
        fewest = min(_FEWEST, _FEWEST_SHUT) if self.shut else _FEWEST
        if waiting < fewest:  # the usual case, and as cheap as can be
            self._full_since = self._measured = None
            if self.shut and not self._lately(self._clock()):
                self.shut = False
                log.info("logins are answered again")
            return True
        now = self._clock()
        self._measure(now)
        wait = min(self._wait, _USUAL * self._calm) if self.shut else self._wait
        if waiting < max(fewest, min(_MOST, int(self._speed * wait))):
            self._full_since = None
            return True
        if self._full_since is None:
            self._full_since = now
            if not self.shut:
                # Not later: whoever is let in among many waits for them, and would pass for usual.
                self._calm = self._usual()
        if waiting < _MOST and not self._lately(now) and now - self._full_since < _PATIENCE_SECONDS:
            return True
        if not self.shut:
            self.shut = True
            log.warning("logins are refused: more come than can be answered", waiting=waiting)
        self._refused_at = now
        return False

    def _lately(self, now: float) -> bool:
        return self._refused_at is not None and now - self._refused_at < 2 * _PATIENCE_SECONDS

    def _measure(self, now: float) -> None:
        """Note how many are answered in a second, while there is always somebody who waits."""
        if self._measured is None:
            self._measured = (now, self._done())
            return
        at, done = self._measured
        if now - at >= _MEASURED_SECONDS:
            newest = (self._done() - done) / (now - at)
            self._speed += (newest - self._speed) * (_WEIGHT if self._speed else 1)
            self._measured = (now, self._done())
