"""Logins at three times of what can be answered: who is answered, how soon, and what the rest get.

    python -m benchmarks.overload [--database URL] [--rounds 5] [--seconds 4] [--json]

First the capacity, by 32 connections that ask without a pause. Then requests come at fixed times,
whatever was answered meanwhile: at half of the capacity, which is the unloaded figure, and at three
times of it. These take turns; figures are medians of the rounds, of which one that the machine
stood still in would else decide.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
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

_REST_SECONDS = 1.5
"""Before a round: the gate opens when nobody had to be refused for a second."""


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


async def measure(database: str, options: argparse.Namespace) -> dict[str, Any]:
    """In each round the capacity, then half of it, then three times of it."""
    server = Server("authsvc", database)
    try:
        people = make_people(200, "known")
        await burst(server.port, prepare(server.port, people, 600), CONNECTIONS)
        rounds = [await _round(server.port, options.seconds, people) for _ in range(options.rounds)]
    finally:
        server.stop()
    return {name: _median([it[name] for it in rounds]) for name in rounds[0]}


async def _round(port: int, seconds: float, people: Any) -> dict[str, Any]:
    await asyncio.sleep(_REST_SECONDS)
    full = await burst(port, prepare(port, people, 3000), CONNECTIONS)
    assert set(full.statuses) == {201}, full.statuses
    capacity = full.per_second
    unloaded = await _arrive(port, capacity / 2, seconds, people)
    overloaded = await _arrive(port, capacity * 3, seconds, people)
    return {
        "capacity_per_second": round(capacity),
        "capacity_p99_ms": round(_p99(full.latencies), 1),
        "unloaded": unloaded,
        "overloaded": overloaded,
        "p99_ratio": round(overloaded["accepted_p99_ms"] / unloaded["accepted_p99_ms"], 2),
        "accepted_share": round(overloaded["accepted_per_second"] / capacity, 2),
    }


def _median(found: list[Any]) -> Any:
    """Of each figure; statuses are added up."""
    first = found[0]
    if isinstance(first, dict) and all(isinstance(status, int) for status in first):
        return dict(sorted(sum((Counter(it) for it in found), Counter()).items()))
    if isinstance(first, dict):
        return {name: _median([it[name] for it in found]) for name in first}
    known = [it for it in found if it is not None]
    return statistics.median(known) if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", help="a database URL; SQLite in a new folder unless given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        database = options.database or f"sqlite+aiosqlite:///{Path(name) / 'overload.db'}"
        found = runner.run(measure(database, options))
    if options.json:
        print(json.dumps(found))
    else:
        for title, value in found.items():
            print(f"{title:22} {value}")
    sys.exit(0 if found["p99_ratio"] <= 2 else 1)


if __name__ == "__main__":
    main()
