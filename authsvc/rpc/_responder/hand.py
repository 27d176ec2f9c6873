"""The stored requests that a process has in hand, from their delivery to their acknowledgement."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection

from authsvc.rpc._calls.receipts import Question
from authsvc.rpc._messages.message import Request
from authsvc.rpc._wire.jetstream import Delivered

__all__ = ["Hand", "Taken"]

_REMEMBERED = 8192


class Taken:
    """A stored request that is in hand, until its answer is stored."""

    __slots__ = ("about", "ack", "answer_to", "failing_since", "key", "question", "request")

    def __init__(self, request: Request, answer_to: str, ack: str, about: Delivered) -> None:
        self.request = request
        self.answer_to = answer_to
        self.ack = ack
        self.about = about
        self.key = key_of(about)
        self.question: Question | None = None
        self.failing_since: float | None = None


def key_of(about: Delivered) -> tuple[int, int]:
    """What tells a stored request from every other: a stream that is made anew counts from 1."""
    return about.sequence, about.stored_at


class Hand:
    """What is in hand, and what was, so that nothing that comes twice is handled twice.

    Args:
        ordered: Whether one of each requester's is let go on at a time, in the order they came.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered
        self._taken: dict[tuple[int, int], Taken] = {}
        self._done: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._lanes: dict[str, deque[Taken]] = {}

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def all(self) -> Collection[Taken]:
        """Everything in hand."""
        return self._taken.values()

    def known(self, about: Delivered, ack: str) -> bool:
        """Whether it is in hand already; if so, its newest delivery is to be acknowledged."""
        found = self._taken.get(key_of(about))
        if found is not None:
            found.ack, found.about = ack, about
        return found is not None

    def finished(self, about: Delivered) -> bool:
        """Whether it was handled here, and only its acknowledgement was lost."""
        return key_of(about) in self._done

    def take(self, taken: Taken) -> bool:
        """Take one in hand; whether it may go on at once."""
        self._taken[taken.key] = taken
        if not self._ordered:
            return True
        requester = taken.request.requester
        if (lane := self._lanes.get(requester)) is not None:
            lane.append(taken)
            return False
        self._lanes[requester] = deque()
        return True

    def let_go(self, taken: Taken, *, done: bool) -> Taken | None:
        """Let one go; the next of its requester's that may go on, if it waited for this one.

        Args:
            taken: It.
            done: Whether it was handled: then it is remembered for a while.
        """
        self._taken.pop(taken.key, None)
        if done:
            self._done[taken.key] = None
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        if not self._ordered:
            return None
        lane = self._lanes[taken.request.requester]
        if lane:
            return lane.popleft()
        del self._lanes[taken.request.requester]
        return None
