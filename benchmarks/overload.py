"""Logins at three times of what can be answered: who is answered, how soon, and what the rest get.

    python -m benchmarks.overload [--database URL] [--seconds 8] [--json]

First the capacity, by 32 connections that ask without a pause. Then requests come at fixed times,
whatever was answered meanwhile: at half of the capacity, which is the unloaded figure, and at three
times of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.arrivals import Arrivals
from benchmarks.issue import CONNECTIONS, Server, make_people, prepare
from benchmarks.load import burst

_AT_FIRST = 256
"""Connections that are there when it begins."""
_SETTLE = 0.25
"""Share of a run that is left out of the figures: the gate waits for half a second."""


def _p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)] * 1000 if latencies else 0.0


async def _arrive(port: int, per_second: float, seconds: float, people: Any) -> dict[str, Any]:
    requests = enumerate(prepare(port, people, int(per_second * seconds)))
    found: list[tuple[float, int, float]] = []

    def note(_place: int, due: float, status: int, _body: bytes) -> None:
        found.append((due, status, time.perf_counter() - due))

    await Arrivals(port, _AT_FIRST).run(requests, per_second, note)
    begin = min(due for due, _, _ in found) + seconds * _SETTLE
    settled = [(status, late) for due, status, late in found if due >= begin]
    accepted = [late for status, late in settled if status == 201]
    refused = [late for status, late in settled if status == 503]
    return {
        "offered_per_second": round(per_second),
        "accepted_per_second": round(len(accepted) / (seconds * (1 - _SETTLE))),
        "accepted_p50_ms": round(sorted(accepted)[len(accepted) // 2] * 1000, 1),
        "accepted_p99_ms": round(_p99(accepted), 1),
        "refused_p50_ms": round(sorted(refused)[len(refused) // 2] * 1000, 1) if refused else None,
        "refused_p99_ms": round(_p99(refused), 1) if refused else None,
        "statuses": dict(sorted(Counter(status for _, status, _ in found).items())),
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
