"""The stored requests that a process has in hand, from their delivery to their acknowledgement."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable

from authsvc.rpc._calls.receipts import Question
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._wire.jetstream import Delivered

__all__ = ["Hand", "Taken", "pause_before"]

_LONGEST_PAUSE = 300.0
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

    Times are of ``time.monotonic()``.
    """

    def __init__(self) -> None:
        self._taken: dict[tuple[int, int], Taken] = {}
        self._done: OrderedDict[tuple[int, int], None] = OrderedDict()

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

    def begin(self, unacknowledged: int | None, now: float) -> None:
        """Take the first in hand soon; so many were handed out to others, if that is known."""

    def delivered(self, about: Delivered, now: float) -> None:
        """Something was handed out to us, a request or not; each is told, and told first."""

    def holding(self, now: float) -> float:  # noqa: ARG002
        """For how many seconds more nothing is let go, at most."""
        return 0.0

    def take(self, taken: Taken, now: float) -> Iterable[Taken]:  # noqa: ARG002
        """Take one in hand; those that may go on now."""
        self._taken[taken.key] = taken
        return (taken,)

    def let_go(
        self,
        taken: Taken,
        now: float,  # noqa: ARG002
        *,
        done: bool,
        delay: float = 0.0,  # noqa: ARG002
    ) -> Iterable[Taken]:
        """Let one go; those that may go on now.

        Args:
            taken: It.
            now: The time.
            done: Whether it was handled: then it is remembered for a while.
            delay: Seconds until it is handed out again, if it was not.
        """
        self._taken.pop(taken.key, None)
        if done:
            self._done[taken.key] = None
            if len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)
        return ()

    def ready(self, now: float) -> Iterable[Taken]:  # noqa: ARG002
        """Those that may go on now because time went by."""
        return ()

    def idle(self) -> Collection[Taken]:
        """Those that wait for others here, in their order."""
        return ()


def pause_before(response: Response | None, times: int) -> float:
    """Seconds until a request is handed out again: what the handler says, else ever more."""
    if response is not None:
        said = response.headers.get("retry-after", "")
        if said.isascii() and said.isdecimal() and len(said) < 6:  # noqa: PLR2004
            return float(said)
    return float(min(4 ** min(times - 1, 9), _LONGEST_PAUSE))
