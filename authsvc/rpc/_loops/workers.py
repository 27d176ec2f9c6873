"""Long-lived tasks that run jobs: a task per request would cost a sixth of the throughput."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

__all__ = ["Workers", "aside"]

_log = logging.getLogger(__name__)
Job = TypeVar("Job")
_WAKING = 4
_here: contextvars.ContextVar[Workers[Any]] = contextvars.ContextVar("authsvc.rpc.workers")


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
        self._base.run(_here.set, self)
        self._waiting: deque[Job] = deque()
        self._idle: list[asyncio.Future[None]] = []
        # What each worker does: a list of one, because the worker sets it for every job.
        self._tasks: dict[asyncio.Task[None], list[Job | None]] = {}
        self._aside = 0
        self._returning: deque[asyncio.Future[None]] = deque()
        self._cancelled: set[asyncio.Task[None]] = set()
        self._disturbed = False
        self._busy = 0
        self._waking = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.stopped = False

    @property
    def busy(self) -> int:
        """Jobs under way or waiting."""
        return self._busy

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    def submit(self, job: Job) -> bool:
        """Let a job run soon; False where too many wait."""
        if self.stopped or len(self._waiting) >= self._backlog:
            return False
        self._waiting.append(job)
        if not self._busy:
            self._quiet.clear()
        self._busy += 1
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

    def cancel(self, wanted: Callable[[Job], bool], held: Callable[[Job], bool]) -> Job | None:
        """Cancel the job that runs and is wanted; its worker ends with it.

        Args:
            wanted: Whether it is this job.
            held: Whether the job must not be cancelled, but only be found.
        """
        for task, (job,) in self._tasks.items():
            if job is not None and wanted(job):
                if not held(job):
                    self._cancelled.add(task)
                    self._disturbed = True
                    task.cancel()
                return job
        return None

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Let another job run meanwhile; the place is asked for again at the end."""
        self._aside += 1
        self._hand_over()
        if self._waiting:
            self._wake()
        try:
            yield
        finally:
            self._aside -= 1
        if self._active > self._limit:
            if self._idle:
                self._idle.pop().cancel()
            else:
                await self._place()

    @property
    def _active(self) -> int:
        """Workers that run a job or could at once."""
        return len(self._tasks) - self._aside - len(self._returning)

    async def _place(self) -> None:
        place = self._loop.create_future()
        self._returning.append(place)
        self._disturbed = True
        try:
            await place
        except asyncio.CancelledError:
            if place in self._returning:
                self._returning.remove(place)
            raise

    def _hand_over(self) -> None:
        while self._returning and self._active < self._limit:
            self._give_place()

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
        elif len(self._tasks) < self._limit + self._aside:
            self._start()
        else:
            return
        self._waking += 1

    def _start(self) -> None:
        doing: list[Job | None] = [None]
        task = self._loop.create_task(self._run(doing), context=self._base.copy())
        self._tasks[task] = doing
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._cancelled.discard(task)
        self._hand_over()
        if self._waiting and not self.stopped:
            self._wake()

    async def _run(self, doing: list[Job | None]) -> None:
        base = contextvars.copy_context()
        while True:
            self._waking -= 1
            while self._waiting:
                job = doing[0] = self._waiting.popleft()
                if self._waiting:
                    self._wake()
                # Not in a function of its own: another coroutine for each job costs time.
                try:
                    await self._work(job)
                except Exception:  # noqa: BLE001  the worker must live
                    _log.exception("a job ended with an exception")
                finally:
                    self._over()
                if self._disturbed and self._leaves():
                    return
                if contextvars.copy_context() != base:
                    return
            doing[0] = None
            idle = self._loop.create_future()
            self._idle.append(idle)
            try:
                await idle
            except asyncio.CancelledError:
                if idle in self._idle:
                    self._idle.remove(idle)
                raise

    def _leaves(self) -> bool:
        """Whether this worker ends: its job was cancelled, or another takes its place."""
        if asyncio.current_task() in self._cancelled:
            return True
        found = bool(self._returning) and self._give_place()
        self._disturbed = bool(self._returning or self._cancelled)
        return found

    def _give_place(self) -> bool:
        while self._returning:
            place = self._returning.popleft()
            if not place.done():
                place.set_result(None)
                return True
        return False

    def _over(self) -> None:
        """A job ended."""
        self._busy -= 1
        if not self._busy:
            self._quiet.set()


@asynccontextmanager
async def aside() -> AsyncIterator[None]:
    """Stand aside while waiting for what only this job needs; nothing outside of a worker."""
    workers = _here.get(None)
    if workers is None:
        yield
        return
    async with workers.aside():
        yield
