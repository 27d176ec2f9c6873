"""The order of each requester's stored requests, over redelivery and the death of a process.

A requester's requests stand in a lane, by their numbers in the stream, and one of them is handled
at a time. One that was given back keeps its place until it comes again.

What was handed out to somebody who died, or into a connection that broke, comes again only after
later ones. Deliveries are numbered without gaps: so at the start, where the first one here is not
the very first, and wherever a number is missing, nothing more is let go until as many have come
again as are missing, or so much time went by that they must have.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterable
from operator import attrgetter

from authsvc.rpc._responder.hand import Hand, Taken, key_of
from authsvc.rpc._wire.jetstream import Delivered

__all__ = ["HOLD_SECONDS", "LAST_DELIVERY", "Lane", "OrderedHand"]

HOLD_SECONDS = 30.0
"""After so long, what somebody took and left has come again: above the longest of the service's
waits for an acknowledgement."""

LAST_DELIVERY = 10
"""A request that was handed out so often is not handed out again; see docs/mailboxes.md."""

_place = attrgetter("about.sequence")


class Lane:
    """The requests of one requester.

    Args:
        running: The one that is handled, if one is.
        waiting: Those that wait for it, by their numbers in the stream.
        away: When each that was given back is not waited for any more, by its key.
    """

    __slots__ = ("away", "running", "waiting")

    def __init__(self) -> None:
        self.running: Taken | None = None
        self.waiting: list[Taken] = []
        self.away: dict[tuple[int, int], float] = {}

    def following(self, now: float) -> Taken | None:
        """The next one that may go on, which then runs."""
        for key in [key for key, until in self.away.items() if until <= now]:
            del self.away[key]
        if self.running is not None or not self.waiting:
            return None
        if self.away and min(self.away) < self.waiting[0].key:
            return None
        self.running = self.waiting.pop(0)
        return self.running


class OrderedHand(Hand):
    """What is in hand, where each requester's order is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._lanes: dict[str, Lane] = {}
        self._last = 0
        # How many were handed out before and not acknowledged; None before the first, and -1
        # after it, where nobody can say.
        self._before: int | None = None
        self._lost: set[int] = set()
        self._held_until = float("-inf")

    def begin(self, unacknowledged: int | None, now: float) -> None:
        """Take the first in hand soon; so many were handed out to others, if that is known."""
        self._before = unacknowledged
        if unacknowledged:
            self._held_until = now + HOLD_SECONDS

    def holding(self, now: float) -> float:
        """For how many seconds more nothing is let go, at most."""
        if not self._before and not self._lost:
            return 0.0
        return max(0.0, self._held_until - now)

    def delivered(self, about: Delivered, now: float) -> None:
        """Something was handed out to us, a request or not; each is told, and told first."""
        number = about.number
        if not self._last:
            self._first(number, now)
        elif number > self._last + 1:
            self._miss(range(self._last + 1, number), now)
        elif number in self._lost:
            self._lost.discard(number)  # a renewed connection brought the next one first
            return
        elif number <= self._last:
            if not self._expected(about):
                self._renumbered(number, now)
            return
        self._last = number
        if about.times > 1 and not self._expected(about):
            self._found()

    def _first(self, number: int, now: float) -> None:
        if number == 1:
            self._settle()  # the very first of all: nobody took anything before
        elif self._before is None:
            self._before, self._held_until = -1, now + HOLD_SECONDS

    def _found(self) -> None:
        """One came again that somebody else had, or nobody."""
        if self._lost:
            self._lost.pop()
        elif self._before is not None and self._before > 0:
            self._before -= 1

    def _renumbered(self, number: int, now: float) -> None:
        """The consumer was made anew, or nats-server lost what it knew last."""
        self._last = number
        if number > 1:
            self._before, self._held_until = -1, now + HOLD_SECONDS

    def _miss(self, numbers: Iterable[int], now: float) -> None:
        self._lost.update(numbers)
        self._held_until = now + HOLD_SECONDS

    def _expected(self, about: Delivered) -> bool:
        """Whether it comes again because of what was done here."""
        key = key_of(about)
        if key in self._taken or key in self._done:
            return True
        return any(key in lane.away for lane in self._lanes.values())

    def take(self, taken: Taken, now: float) -> Iterable[Taken]:
        """Take one in hand; those that may go on now."""
        super().take(taken, now)
        lane = self._lanes.setdefault(taken.request.requester, Lane())
        lane.away.pop(taken.key, None)
        bisect.insort(lane.waiting, taken, key=_place)
        return self._ready_in(taken.request.requester, now)

    def let_go(
        self, taken: Taken, now: float, *, done: bool, delay: float = 0.0
    ) -> Iterable[Taken]:
        """Let one go; those that may go on now. One that was given back keeps its place."""
        super().let_go(taken, now, done=done)
        lane = self._lanes[taken.request.requester]
        if lane.running is taken:
            lane.running = None
        elif taken in lane.waiting:
            lane.waiting.remove(taken)
        left = taken.request.expires - now
        if not done and taken.about.times < LAST_DELIVERY and left > 0:
            lane.away[taken.key] = now + min(delay + HOLD_SECONDS, left)
        return self._ready_in(taken.request.requester, now)

    def ready(self, now: float) -> Iterable[Taken]:
        """Those that may go on now because time went by."""
        if not self._last or self.holding(now):
            return []
        self._settle()
        return [one for name in list(self._lanes) for one in self._following(name, now)]

    def _ready_in(self, requester: str, now: float) -> Iterable[Taken]:
        if self._held_until > float("-inf"):
            return self.ready(now)
        return self._following(requester, now)

    def _settle(self) -> None:
        self._before = 0
        self._lost.clear()
        self._held_until = float("-inf")

    def _following(self, requester: str, now: float) -> list[Taken]:
        lane = self._lanes[requester]
        if (following := lane.following(now)) is not None:
            return [following]
        if lane.running is None and not lane.waiting and not lane.away:
            del self._lanes[requester]
        return []

    def idle(self) -> Collection[Taken]:
        """Those that wait for others here, in their order."""
        found = [taken for lane in self._lanes.values() for taken in lane.waiting]
        return sorted(found, key=_place)
