"""Long-lived tasks that run jobs: a task per request would cost a sixth of the throughput."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Workers"]

_log = logging.getLogger(__name__)
Job = TypeVar("Job")
_WAKING = 4


class Workers(Generic[Job]):
    """Runs jobs side by side, up to a limit; more wait in order, up to another.

    A job never starts inside ``submit``. A worker whose job changed its context variables is
    replaced, so that one job's never reach the next.

    Args:
        work: What a job means. It handles its own exceptions; one that escapes is logged. A
            cancellation ends the worker.
        limit: Jobs at a time.
        backlog: Jobs that may wait.
    """

    def __init__(self, work: Callable[[Job], Awaitable[None]], *, limit: int, backlog: int) -> None:
        self._work = work
        self._limit = limit
        self._backlog = backlog
        self._loop = asyncio.get_running_loop()
        self._base = contextvars.copy_context()
        self._waiting: deque[Job] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._waking = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.stopped = False

    @property
    def busy(self) -> int:
        """Jobs under way or waiting."""
        return self._busy

    def submit(self, job: Job) -> bool:
        """Let a job run soon; False where too many wait."""
        if self.stopped or len(self._waiting) >= self._backlog:
            return False
        self._waiting.append(job)
        self._busy += 1
        self._quiet.clear()
        self._wake()
        return True

    async def quiet(self, timeout: float) -> bool:
        """Wait until no job is left; False if the seconds were not enough."""
        try:
            async with asyncio.timeout(timeout):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Cancel what still runs."""
        self.stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _wake(self) -> None:
        # A few at a time, each of which wakes more: jobs that never wait are done by one
        # worker after another, and waking sixty others for nothing costs more than the jobs.
        if self._waking >= _WAKING:
            return
        if self._idle:
            self._idle.pop().set_result(None)
        elif len(self._tasks) < self._limit:
            self._start()
        else:
            return
        self._waking += 1

    def _start(self) -> None:
        task = self._loop.create_task(self._run(), context=self._base.copy())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting and not self.stopped:
            self._wake()

    async def _run(self) -> None:
        base = contextvars.copy_context()
        while True:
            self._waking -= 1
            while self._waiting:
                job = self._waiting.popleft()
                if self._waiting:
                    self._wake()
                await self._one(job)
                if contextvars.copy_context() != base:
                    return
            idle = self._loop.create_future()
            self._idle.append(idle)
            try:
                await idle
            except asyncio.CancelledError:
                if idle in self._idle:
                    self._idle.remove(idle)
                raise

    async def _one(self, job: Job) -> None:
        try:
            await self._work(job)
        except Exception:  # noqa: BLE001  the worker must live
            _log.exception("a job ended with an exception")
        finally:
            self._busy -= 1
            if not self._busy:
                self._quiet.set()
