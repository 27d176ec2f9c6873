"""What is being done, said where it takes longer than a second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["LATE_SECONDS", "step"]

LATE_SECONDS = 1.0


@contextmanager
def step(what: str, *, late: float = LATE_SECONDS) -> Iterator[None]:
    """Do the block, and say what it does should it take long.

    Args:
        what: Such as ``nats-server starts``.
        late: Seconds after which it is said.
    """
    # A thread: some of what takes long holds the event loop.
    timer = threading.Timer(late, lambda: print(f"  ...        {what}", flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
