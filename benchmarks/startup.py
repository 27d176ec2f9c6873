"""From the start of ``authsvc up`` to its line ``ready``, with few users and with 100,000.

    python -m benchmarks.startup [--users 100000] [--rounds 5] [--json]

Each user has a credential. The two data directories take turns. ``ready`` means that nats-server
runs and has confirmed its accounts, and that the API answers. The CPU seconds are the service's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_seconds, resident_mib
from benchmarks.product import started
from benchmarks.rows import add_users

_FEW = 100


def measure(users: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Start each so often."""
    folders = {count: folder / str(count) for count in (_FEW, users)}
    for count, place in folders.items():
        with started(place) as served:  # makes the database
            url = served.database_url
        asyncio.run(add_users(url, count))
    seconds: dict[int, list[float]] = {count: [] for count in folders}
    spent: dict[int, list[float]] = {count: [] for count in folders}
    memory = 0.0
    for _ in range(rounds):
        for count, place in folders.items():
            with started(place) as served:
                seconds[count].append(served.seconds)
                spent[count].append(cpu_seconds(served.pid))
                memory = resident_mib(served.pid)
    return {
        "users": users,
        "seconds": {str(count): _median(found) for count, found in seconds.items()},
        "slowest": {str(count): round(max(found), 2) for count, found in seconds.items()},
        "cpu_seconds": {str(count): _median(found) for count, found in spent.items()},
        "resident_mib": memory,
        "ratio": round(statistics.median(seconds[users]) / statistics.median(seconds[_FEW]), 2),
    }


def _median(found: list[float]) -> float:
    return round(statistics.median(found), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.users, options.rounds, Path(folder))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
