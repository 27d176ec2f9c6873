"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

__all__ = ["end"]

_AGAIN_SECONDS = 0.5


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    Once is not always enough: before Python 3.12 ``wait_for``, which nats-py uses, loses a
    cancellation that arrives together with what was waited for (python/cpython#86296).
    """
    open_tasks = {task for task in tasks if not task.done()}
    while open_tasks:
        for task in open_tasks:
            task.cancel()
        _, open_tasks = await asyncio.wait(open_tasks, timeout=_AGAIN_SECONDS)
