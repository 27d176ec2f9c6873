"""Logins at three times of what can be answered: who is answered, how soon, and what the rest get.

    python -m benchmarks.overload [--database URL] [--seconds 8] [--json]

First the capacity, by 32 connections that ask without a pause. Then requests come at fixed times,
whatever was answered meanwhile: at half of the capacity, which is the unloaded figure, and at three
times of it. Latency counts from the time at which a request was due, so waiting anywhere counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import uvloop

from benchmarks.issue import CONNECTIONS, Server, make_people, prepare
from benchmarks.load import burst

_AT_FIRST = 256
"""Connections that are there when it begins."""
_SETTLE = 0.25
"""Share of a run that is left out of the figures: the gate waits for half a second."""


class Coming(Protocol):
    """Requests, there already or made as they are asked for."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...


@dataclass
class Arrivals:
    """Requests that come at fixed times, over as many connections as are needed."""

    requests: Coming
    per_second: float
    found: list[tuple[float, int, float]] = field(default_factory=list)
    """When each was due, its status, its latency."""
    idle: deque[_Line] = field(default_factory=deque)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, port: int) -> None:
        """Send them all, and wait for the last answer."""
        loop = asyncio.get_running_loop()
        for _ in range(_AT_FIRST):
            await loop.create_connection(partial(_Line, self), "127.0.0.1", port)
        began = time.perf_counter() + 0.05
        for place, request in enumerate(self.requests):
            due = began + place / self.per_second
            pause = due - time.perf_counter()
            if pause > 0.001:
                await asyncio.sleep(pause)
            if not self.idle:
                await loop.create_connection(partial(_Line, self), "127.0.0.1", port)
            self.idle.popleft().ask(request, due)
        await self.done.wait()

    def note(self, due: float, status: int) -> None:
        """Take an answer down."""
        self.found.append((due, status, time.perf_counter() - due))
        if len(self.found) == len(self.requests):
            self.done.set()


class _Line(asyncio.Protocol):
    """One connection: a request, its answer, and the next when there is one."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self._due = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._arrivals.idle.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self._buffer[:head].lower()
        length = int(lower.partition(b"content-length: ")[2].partition(b"\r")[0])
        if len(self._buffer) < head + 4 + length:
            return
        status, self._buffer = int(self._buffer[9:12]), self._buffer[head + 4 + length :]
        self._arrivals.idle.append(self)
        self._arrivals.note(self._due, status)


def _p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0


async def _arrive(port: int, per_second: float, seconds: float, people: Any) -> dict[str, Any]:
    arrivals = Arrivals(prepare(port, people, int(per_second * seconds)), per_second)
    await arrivals.run(port)
    begin = min(due for due, _, _ in arrivals.found) + seconds * _SETTLE
    settled = [(status, late) for due, status, late in arrivals.found if due >= begin]
    accepted = [late for status, late in settled if status == 201]
    refused = [late for status, late in settled if status == 503]
    return {
        "offered_per_second": round(per_second),
        "accepted_per_second": round(len(accepted) / (seconds * (1 - _SETTLE))),
        "accepted_p50_ms": round(sorted(accepted)[len(accepted) // 2] * 1000, 1),
        "accepted_p99_ms": round(_p99(accepted), 1),
        "refused_p50_ms": round(sorted(refused)[len(refused) // 2] * 1000, 1) if refused else None,
        "refused_p99_ms": round(_p99(refused), 1) if refused else None,
        "statuses": dict(sorted(Counter(status for _, status, _ in arrivals.found).items())),
    }


async def measure(database: str, seconds: float) -> dict[str, Any]:
    """The capacity, then half of it, then three times of it."""
    server = Server("authsvc", database)
    try:
        people = make_people(200, "known")
        await burst(server.port, prepare(server.port, people, 600), CONNECTIONS)
        full = await burst(server.port, prepare(server.port, people, 3000), CONNECTIONS)
        capacity = full.per_second
        unloaded = await _arrive(server.port, capacity / 2, seconds, people)
        overloaded = await _arrive(server.port, capacity * 3, seconds, people)
    finally:
        server.stop()
    return {
        "capacity_per_second": round(capacity),
        "capacity_p99_ms": round(_p99(full.latencies), 1),
        "unloaded": unloaded,
        "overloaded": overloaded,
        "p99_ratio": round(overloaded["accepted_p99_ms"] / unloaded["accepted_p99_ms"], 2),
        "accepted_share": round(overloaded["accepted_per_second"] / capacity, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", help="a database URL; SQLite in a new folder unless given")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        database = options.database or f"sqlite+aiosqlite:///{Path(name) / 'overload.db'}"
        found = runner.run(measure(database, options.seconds))
    if options.json:
        print(json.dumps(found))
    else:
        for title, value in found.items():
            print(f"{title:22} {value}")
    sys.exit(0 if found["p99_ratio"] <= 2 else 1)


if __name__ == "__main__":
    main()
