"""A program's one coroutine, and the signals that end it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

__all__ = ["run", "run_until_told"]

_ENDING = (signal.SIGINT, signal.SIGTERM)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as ``asyncio.run`` does, on uvloop where that is installed."""
    with _runner() as runner:
        return runner.run(main)


def run_until_told(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine until it ends, or until SIGINT or SIGTERM cancels it.

    A second signal is the system's again: it kills the process, whatever blocks.
    """
    runner, told = _runner(), False
    loop = runner.get_loop()
    task = loop.create_task(main)

    def tell() -> None:
        nonlocal told
        told = True
        loop.call_soon_threadsafe(task.cancel)

    with _signals(tell), runner:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            if not told:
                raise


def _runner() -> asyncio.Runner:
    try:
        import uvloop  # noqa: PLC0415  optional
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


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
