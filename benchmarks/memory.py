"""Resident memory of ``authsvc up`` while 1,000 logins a second are attempted, answered or not.

    python -m benchmarks.memory [--per-second 1000] [--seconds 60] [--users 1000] [--json]

Logins come at fixed times, whatever was answered meanwhile. Each has a proof of its own, made a
second before by another process, because a proof is good for a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvloop

from authsvc.nkey import KeyPair
from benchmarks.arrivals import Arrivals
from benchmarks.issue import CONNECTIONS, SECRET, make_people, prepare
from benchmarks.load import burst
from benchmarks.processes import resident_mib
from benchmarks.product import Up, started

_LOOK_SECONDS = 0.5
People = list[tuple[str, KeyPair, str]]
_people: People = []


def _begin(seeds: list[tuple[str, str, str]]) -> None:
    """In the other process: take the people over, and let everybody else go first."""
    os.nice(5)
    _people.extend((name, KeyPair.from_seed(seed), token) for name, seed, token in seeds)


def _made(port: int, count: int) -> list[bytes]:
    return prepare(port, _people, count)


class Coming:
    """Requests that another process makes, a second's worth at a time."""

    def __init__(self, pool: ProcessPoolExecutor, port: int, per_second: int, seconds: int) -> None:
        self._pool = pool
        self._port = port
        self._per_second = per_second
        self._seconds = seconds
        self._next = self._begun()

    def _begun(self) -> Future[list[bytes]]:
        return self._pool.submit(_made, self._port, self._per_second)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        for second in range(self._seconds):
            found = self._next.result()
            if second + 1 < self._seconds:
                self._next = self._begun()
            yield from enumerate(found)


class Course:
    """What became of the requests, and the memory meanwhile."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.memory: list[float] = []

    def note(self, _place: int, _due: float, status: int, _body: bytes) -> None:
        """Take an answer down."""
        self.statuses[status] += 1

    async def watch(self, served: Up, coming: Coming, per_second: int) -> None:
        """Send them, and look at the memory all the while."""
        arrivals = Arrivals(served.port, CONNECTIONS)
        sending = asyncio.create_task(arrivals.run(coming, per_second, self.note))
        while not sending.done():
            self.memory.append(resident_mib(served.pid))
            await asyncio.wait([sending], timeout=_LOOK_SECONDS)
        await sending


async def measure(served: Up, options: argparse.Namespace) -> dict[str, Any]:
    """Everybody logs in once; then it comes as fast as was asked for."""
    people = make_people(options.users, "known")
    await burst(served.port, prepare(served.port, people, options.users), CONNECTIONS)
    before = resident_mib(served.pid)
    seeds = [(name, key.seed, token) for name, key, token in people]
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_begin, initargs=(seeds,)
    ) as pool:
        coming = Coming(pool, served.port, options.per_second, options.seconds)
        course = Course()
        await course.watch(served, coming, options.per_second)
    statuses, memory = course.statuses, course.memory
    quarter = len(memory) // 4
    return {
        "attempted_per_second": options.per_second,
        "seconds": options.seconds,
        "accepted": statuses[201],
        "refused": statuses[503],
        "statuses": dict(statuses),
        "resident_mib": {
            "before": before,
            "quarter": memory[quarter],
            "half": memory[2 * quarter],
            "end": memory[-1],
            "most": resident_mib(served.pid, most=True),
        },
        "course_mib": memory[:: max(1, len(memory) // 60)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-second", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        with started(folder):
            pass  # a first start makes the tables, which takes 8 MiB more
        served = stack.enter_context(started(folder, syftbox_access_token_secret=SECRET))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        found = runner.run(measure(served, options))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
