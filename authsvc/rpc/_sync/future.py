"""SyncFuture: the blocking face of Future."""

from __future__ import annotations

from collections.abc import Callable

from authsvc.rpc._calls.futures import Future
from authsvc.rpc._loops.loop_thread import LoopThread
from authsvc.rpc._messages.message import Response

__all__ = ["SyncFuture"]


class SyncFuture:
    """The answer to a request that was stored; made by ``submit`` and ``Client.future``."""

    __slots__ = ("_future", "_live")

    def __init__(self, live: Callable[[], LoopThread], future: Future) -> None:
        self._live = live
        self._future = future

    @property
    def id(self) -> str:
        """What ``Client.future`` finds it again by."""
        return self._future.id

    @property
    def deadline(self) -> int:
        """When the request is not handled any more, in ms since the epoch by this clock."""
        return self._future.deadline

    def __repr__(self) -> str:
        return f"<SyncFuture {self.id}>"

    def done(self) -> bool:
        """Whether ``result`` would return or raise at once; see Future.done."""
        return self._live().run(self._future.done())

    def result(self, timeout: float | None = None) -> Response:
        """Wait for the answer, whatever its status; see Future.result."""
        return self._live().run(self._future.result(timeout))

    def cancel(self) -> bool:
        """Give the answer up; see Future.cancel."""
        return self._live().run(self._future.cancel())
