"""What other threads have a loop do, and wait for."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from authsvc.errors import Disconnected

__all__ = ["CLOSED", "Asked", "Job", "Question", "Wait", "Waits"]

CLOSED = "the client was closed; make a new one"
"""Why what waits ends with the loop."""


class Question(Protocol):
    """What is asked in the loop and answered later, without a coroutine."""

    def begin(self, outcome: Any, /) -> None:
        """Ask; ``outcome`` is to be told the answer, as an asyncio.Future is, in the loop."""

    def end(self, error: BaseException, /) -> None:
        """It ended with this."""


class Waits:
    """All that threads wait for in one loop; ``open`` is what has begun and not ended.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.open: set[Wait] = set()
        self._loop = loop
        self._over: deque[Wait] = deque()

    def end(self, wait: Wait) -> None:
        """One has a result or an error: its thread goes on soon."""
        self.open.discard(wait)
        if not self.open and not self._over:
            wait.wake.release()
            return
        # Several are woken together, when the loop has done what came in with them: each of
        # them wants the GIL at once.
        if not self._over:
            self._loop.call_soon(self.wake)
        self._over.append(wait)

    def wake(self) -> None:
        """Let those go on whose wait is over; any thread may, once the loop has ended."""
        with contextlib.suppress(IndexError):
            while True:
                self._over.popleft().wake.release()


class Wait:
    """What another thread waits for."""

    __slots__ = ("abandoned", "error", "result", "waits", "wake")

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self.wake = threading.Lock()
        self.wake.acquire()  # released once, when there is a result or an error
        self.abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin, in the loop."""

    def end(self) -> None:
        """There is a result or an error."""
        self.waits.end(self)

    def drop(self) -> None:
        """It will never begin, or never go on."""

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.abandoned = True


class Job(Wait):
    """A coroutine."""

    __slots__ = ("context", "main", "task")

    def __init__(self, waits: Waits, main: Coroutine[Any, Any, Any]) -> None:
        super().__init__(waits)
        self.main = main
        self.context = contextvars.copy_context()
        self.task: asyncio.Task[None] | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self.task = loop.create_task(self._run(), context=self.context)

    async def _run(self) -> None:
        try:
            self.result = await self.main
        except asyncio.CancelledError:
            self.error = Disconnected(CLOSED)
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            self.error = error
        self.end()

    def drop(self) -> None:
        self.main.close()

    def cancel(self) -> None:
        super().cancel()
        if self.task is not None:
            self.task.cancel()


class Asked(Wait):
    """A question; to whom it is put, this is what a future would be."""

    __slots__ = ("question",)

    def __init__(self, waits: Waits, question: Question) -> None:
        super().__init__(waits)
        self.question = question

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ARG002
        try:
            self.question.begin(self)
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            self.error = error
            self.end()

    def end(self) -> None:
        del self.question  # which knows this one
        super().end()

    def done(self) -> bool:
        """Whether it was answered, or nobody waits for that."""
        return self not in self.waits.open

    def set_result(self, result: Any) -> None:
        """The answer."""
        self.result = result
        self.end()

    def set_exception(self, error: BaseException) -> None:
        """There is none."""
        self.error = error
        self.question.end(error)
        self.end()

    def cancel(self) -> None:
        super().cancel()
        if not self.done():
            self.question.end(asyncio.CancelledError())
            self.end()
