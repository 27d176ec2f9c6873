"""An event loop in a thread of its own, and the way there for other threads.

One crossing costs a wake-up of the loop and a lock that the caller waits for. anyio's own
``portal.call`` and ``asyncio.run_coroutine_threadsafe`` are more general and take about twice
the time, most of it in ``concurrent.futures.Future``; benchmarks/sync.py measures this one. A
call crosses as a question: two callbacks, without a task and its turns of the loop.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal

from authsvc.errors import Disconnected
from authsvc.rpc._loops.running import loop_runner
from authsvc.rpc._loops.waits import CLOSED, Asked, Job, Question, Wait, Waits

__all__ = ["LoopThread"]

_log = logging.getLogger(__name__)
_EXIT_SECONDS, _LEAVE_SECONDS = 5.0, 1.0
_LOOK_SECONDS = 0.25

T = TypeVar("T")
Main = Coroutine[Any, Any, T]


class LoopThread:
    """A running event loop, uvloop where that is installed, in a daemon thread.

    Args:
        farewell: Awaited in the loop before it ends.
    """

    def __init__(self, farewell: Callable[[], Main[None]]) -> None:
        self._farewell = farewell
        self._pid = os.getpid()
        self._jobs: deque[Wait] = deque()
        self._woken = self._ended = False
        self._ending: asyncio.Task[None] | None = None
        self._runner = loop_runner()
        # What is posted before the thread runs the loop waits there.
        self._loop = self._runner.get_loop()
        self._waits = Waits(self._loop)
        self._thread = threading.Thread(target=self._work, name="authsvc.rpc loop", daemon=True)
        self._thread.start()
        _running.add(self)

    def run(self, main: Main[T]) -> T:
        """What the coroutine returns or raises; this thread waits for it.

        If the wait is broken off, as by KeyboardInterrupt, the coroutine is cancelled.

        Raises:
            Disconnected: The loop has ended, or belongs to the process that this one was
                forked from.
            RuntimeError: This is the loop's own thread, which would wait for itself.
        """
        try:
            self.check()
        except BaseException:
            main.close()
            raise
        found: T = self._wait(Job(self._waits, main))
        return found

    def ask(self, question: Question) -> Any:
        """The answer to a question that is put in the loop; cheaper than ``run``.

        If the wait is broken off, so is the question.

        Raises:
            Disconnected: As ``run`` does.
            RuntimeError: As ``run`` does.
        """
        self.check()
        return self._wait(Asked(self._waits, question))

    def _wait(self, job: Wait) -> Any:
        try:
            self._jobs.append(job)
            # Threads that come at once wake the loop once.
            if not self._woken:
                self._woken = True
                self._post(self._start_jobs)
            if self._ended:
                self._fail_jobs()
            # A signal between giving the GIL away and falling asleep wakes nobody; nor does any
            # on Windows.
            while not job.wake.acquire(True, _LOOK_SECONDS):  # noqa: FBT003  a lock's own way
                pass
        except BaseException:
            self._post(partial(self._give_up, job))
            raise
        if job.error is None:
            return job.result
        error, job.error = job.error, None
        try:
            raise error
        finally:
            del error  # which holds this frame, as it does that of _run with the job

    def check(self) -> None:
        """Let a thread go on that may wait for the loop.

        Raises:
            Disconnected: The loop belongs to the process that this one was forked from.
            RuntimeError: This is the loop's own thread.
        """
        if self._pid != os.getpid():
            raise Disconnected(
                "this client was connected before the process was forked, and its connection "
                "stays with the parent; make a new client after the fork"
            )
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "a blocking call in the client's own event loop would wait for itself; use "
                "AsyncClient in async code, or make the handler a plain function"
            )

    @property
    def forked(self) -> bool:
        """Whether the thread is one of the parent process, and not here."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """End the loop, and return when the thread is gone.

        Raises:
            RuntimeError: This is the loop's own thread.
        """
        if not self.forked:
            self.check()
            self.end()
            self._thread.join()

    def end(self) -> None:
        """Let the loop end soon. Any thread may call it at any time, the garbage collector too."""
        if not self.forked:
            self._post(self._begin_end)

    def join(self, timeout: float) -> None:
        """Wait for the end, some seconds at most."""
        self._thread.join(timeout)

    def _post(self, callback: Callable[[], None]) -> None:
        try:  # noqa: SIM105  suppress() takes longer than the rest of this
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            pass  # the loop is closed, and _ended tells those who wait

    # In the thread.

    def _work(self) -> None:
        try:
            with self._runner:
                self._runner.run(self._main())
        finally:
            # Whoever appends a job after this sees it, and fails the job itself.
            self._ended = True
            self._fail_jobs()
            _running.discard(self)

    async def _main(self) -> None:
        async with BlockingPortal() as self._portal:
            await self._portal.sleep_until_stopped()

    def _start_jobs(self) -> None:
        self._woken = False
        jobs, loop = self._jobs, self._loop
        while jobs:
            job = jobs.popleft()
            if job.abandoned:
                job.drop()
                continue
            self._waits.open.add(job)
            job.begin(loop)

    def _give_up(self, job: Wait) -> None:
        job.cancel()
        # The wait may have been broken off just before the wake-up that others count on.
        self._start_jobs()

    def _fail_jobs(self) -> None:
        self._waits.wake()
        with contextlib.suppress(IndexError, KeyError):
            while True:
                job = self._jobs.popleft() if self._jobs else self._waits.open.pop()
                job.drop()
                job.error = Disconnected(CLOSED)
                job.wake.release()

    def _begin_end(self) -> None:
        if self._ending is None:
            self._ending = self._loop.create_task(self._end())

    async def _end(self) -> None:
        try:
            await self._farewell()
        except Exception:  # noqa: BLE001  the loop ends all the same
            _log.exception("a client could not be closed in order")
        finally:
            # Nothing waits for long any more; each ends in its own way.
            jobs = [job for job in self._waits.open if isinstance(job, Job)]
            if tasks := [job.task for job in jobs if job.task is not None]:
                await asyncio.wait(tasks, timeout=_LEAVE_SECONDS)
            await self._portal.stop(cancel_remaining=True)


_running: set[LoopThread] = set()


@atexit.register
def _end_all() -> None:
    """A client that was left open is closed with the program, which waits only so long."""
    left = [thread for thread in list(_running) if not thread.forked]
    for thread in left:
        thread.end()
    deadline = time.monotonic() + _EXIT_SECONDS
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
