"""Requests that come at fixed times, whatever was answered meanwhile.

Latency counts from the time at which a request was due, so waiting anywhere counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from benchmarks.load import body_length

__all__ = ["Arrivals"]

Case = TypeVar("Case")
Answered = Callable[[Case, float, int, bytes], None]


class Arrivals:
    """Requests at an even pace, over as many connections as are needed.

    Args:
        port: Of the service, on this machine.
        connections: How many are there when it begins.
    """

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._connections = connections
        self._idle: list[_Line] = []
        self._waiting = 0
        self._sent_all = False
        self._done = asyncio.Event()

    async def run(
        self,
        requests: Iterable[tuple[Case, bytes]],
        per_second: float,
        answered: Callable[[Case, float, int, bytes], None],
    ) -> None:
        """Send them all, and wait for the last answer.

        Args:
            requests: Each with what shall be handed back with its answer; made when it is due.
            per_second: The pace.
            answered: Called with that, when it was due (``time.perf_counter``), the status, and
                the body. Status 0: the connection broke.
        """
        for _ in range(self._connections):
            await self._connect()
        began = time.perf_counter() + 0.05
        for place, (case, request) in enumerate(requests):
            due = began + place / per_second
            pause = due - time.perf_counter()
            if pause > 0.001:
                await asyncio.sleep(pause)
            if not self._idle:
                await self._connect()
            self._waiting += 1
            # The last one that was used: the service closes those that nobody uses for a while.
            self._idle.pop().ask(request, partial(answered, case, due))
        self._sent_all = True
        self._look()
        await self._done.wait()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(partial(_Line, self), "127.0.0.1", self._port)
        self._idle.append(line)

    def free(self, line: _Line) -> None:
        """Its answer is there."""
        self._idle.append(line)
        self._waiting -= 1
        self._look()

    def lost(self, line: _Line, *, asked: bool) -> None:
        """It was closed, with a request under way or without."""
        if asked:
            self._waiting -= 1
            self._look()
        elif line in self._idle:
            self._idle.remove(line)

    def _look(self) -> None:
        if self._sent_all and not self._waiting:
            self._done.set()


class _Line(asyncio.Protocol):
    """One connection: a request, its answer, and the next when there is one."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._answered: Callable[[int, bytes], None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes, answered: Callable[[int, bytes], None]) -> None:
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = body_length(self._buffer, head)
        if length is None or len(self._buffer) < (end := head + 4 + length):
            return
        status, body = int(self._buffer[9:12]), self._buffer[head + 4 : end]
        self._buffer = self._buffer[end:]
        self._end(status, body)
        self._arrivals.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        asked = self._answered is not None
        self._end(0, str(exc or "closed").encode())
        self._arrivals.lost(self, asked=asked)

    def _end(self, status: int, body: bytes) -> None:
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(status, body)
