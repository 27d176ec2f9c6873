"""Turns of the event loop: how many requests are looked into before others are heard.

    turns = Turns(4)
    await turns.take()
    ... what keeps the event loop busy ...

Requests that come together would all be verified in one turn, and meanwhile nobody would hear that
the database has answered: first the event loop works and the database waits, then the other way
around. A few in each turn, and both work.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Turns"]


class Turns:
    """So many at a time, whoever came first goes first.

    Args:
        size: How many in one turn of the event loop.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._scheduled = False
        self._queue: deque[asyncio.Future[None]] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def take(self) -> None:
        """Return at once, or in a turn that has room."""
        self._schedule()
        if self._left and not self._queue:
            self._left -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(future)
        await future

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._scheduled = False
        self._left = self._size
        while self._left and self._queue:
            future = self._queue.popleft()
            if not future.done():  # cancelled: whoever it was is gone
                future.set_result(None)
                self._left -= 1
        if self._left < self._size:
            self._schedule()
