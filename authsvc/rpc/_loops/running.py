"""A program's one coroutine, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

__all__ = ["loop_runner", "run", "run_until_told"]

_ENDING = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as ``asyncio.run`` does, on uvloop where that is installed."""
    with loop_runner() as runner:
        return runner.run(main)


def run_until_told(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until it ends, or until SIGINT or SIGTERM cancels it.

    A second signal is the system's again: it kills the process, whatever blocks. Where an event
    loop runs already, as in a notebook, the coroutine gets a thread, for which this one waits.
    """
    runner, told = loop_runner(), False
    loop = runner.get_loop()
    task = loop.create_task(main)

    def tell() -> None:
        nonlocal told
        told = True
        loop.call_soon_threadsafe(task.cancel)

    def work() -> None:
        with runner:
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                if not told:
                    raise

    with _signals(tell):
        if asyncio._get_running_loop() is None:  # noqa: SLF001
            work()
        else:
            _in_thread(work)


def loop_runner() -> asyncio.Runner:
    """A runner of a loop, uvloop where that is installed, which is nobody's current loop yet."""
    try:
        import uvloop  # noqa: PLC0415  optional
    except ImportError:
        return asyncio.Runner(loop_factory=asyncio.new_event_loop)
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _in_thread(work: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def caught() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=caught, name="authsvc.rpc service", daemon=True)
    thread.start()
    thread.join()  # signals are handled meanwhile
    if errors:
        raise errors.pop()


@contextlib.contextmanager
def _signals(tell: Callable[[], None]) -> Iterator[None]:
    """Tell of the first signal, and leave the next ones to the system."""

    def first(_number: int, _frame: object) -> None:
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        tell()

    earlier = {}
    # Only the main thread gets signals. Not the loop's own handlers: those wait for a loop
    # that a handler may block.
    with contextlib.suppress(ValueError):
        earlier = {number: signal.signal(number, first) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
