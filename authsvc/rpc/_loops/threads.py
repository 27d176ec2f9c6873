"""Threads for plain functions, which nothing waits for: neither a closing loop nor the exit.

asyncio's and anyio's own threads are joined when the program ends, so one function that never
returns would hold it for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

__all__ = ["Threads", "in_thread"]

T = TypeVar("T")


class _Job(NamedTuple):
    function: Callable[[], Any]
    context: contextvars.Context
    future: asyncio.Future[tuple[Any, BaseException | None]]


class Threads:
    """As many daemon threads as functions run side by side; each is used again.

    It belongs to one event loop. How many run at a time is up to who calls ``run``.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = self._idle = 0
        # Requests whose handling is not cancelled, whoever gives up; see ``unbroken``.
        self.held: set[object] = set()

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns or raises; if this is cancelled, it runs on, unheard."""
        if self._idle:
            self._idle -= 1
        else:
            threading.Thread(target=self._work, name="authsvc.rpc", daemon=True).start()
            self._threads += 1
        job = _Job(function, contextvars.copy_context(), self._loop.create_future())
        self._jobs.put(job)
        result, error = await job.future
        if error is None:
            found: T = result
            return found
        try:
            raise error
        finally:
            del error  # which holds this frame

    def close(self) -> None:
        """Let each thread end as soon as its function does; ``run`` nothing any more."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        # The loop may be closed by the time that a function returns.
        with contextlib.suppress(RuntimeError):
            while (job := self._jobs.get()) is not None:
                self._loop.call_soon_threadsafe(self._ended, job.future, *_outcome(job))
                del job

    def _ended(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._idle += 1
        if not future.done():
            # As a pair: a future refuses StopIteration, and lets SystemExit end the loop.
            future.set_result((result, error))


async def in_thread(function: Callable[[], T]) -> T:
    """Run one function in a thread that nothing waits for."""
    threads = Threads()
    try:
        return await threads.run(function)
    finally:
        threads.close()


def _outcome(job: _Job) -> tuple[Any, BaseException | None]:
    try:
        return job.context.run(job.function), None
    except BaseException as error:  # noqa: BLE001  raised again where it is awaited
        return None, error
