"""From the revocation sent over HTTP to the user's connection closed, on one node and on three.

    python -m benchmarks.revocation [--users 100] [--nodes 1,3] [--at-once 1] [--json]

All is real: nats-servers, PostgreSQL and a replica of the API are processes of their own. As many
users as are revoked stay connected beside them, and must not notice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

from tests.cluster import started
from tests.fixtures.cluster import ReplicatedService


class Target:
    """A user who is connected until the revocation."""

    def __init__(self, service: ReplicatedService, place: int) -> None:
        self.service = service
        self.node = service.nodes[place % len(service.nodes)]
        self.name = f"user{place}@example.com"
        self.ended = asyncio.Event()
        self.ended_at = 0.0

    async def open(self) -> None:
        """Log in and connect, each to the next node."""
        self.credential, self.creds = await self.service.login(self.name)

        async def closed() -> None:
            self.ended_at = time.perf_counter()
            self.ended.set()

        self.client = await self.service.connect(self.creds, self.node, closed_cb=closed)

    async def revoke(self) -> tuple[float, float, str]:
        """Seconds until the connection was closed and until the answer, and its state."""
        began = time.perf_counter()
        found = await self.service.revoke(self.credential, self.creds)
        answered = time.perf_counter() - began
        async with asyncio.timeout(10):
            await self.ended.wait()
        return self.ended_at - began, answered, found["state"]


async def measure(nodes: int, users: int, at_once: int) -> dict[str, Any]:
    """Revoke them all, ``at_once`` of them side by side."""
    async with started(nodes, replicas=1) as service:
        targets = [Target(service, place) for place in range(2 * users)]
        for target in targets:
            await target.open()
        gone, staying = targets[:users], targets[users:]
        gate = asyncio.Semaphore(at_once)

        async def one(target: Target) -> tuple[float, float, str]:
            async with gate:
                return await target.revoke()

        found = await asyncio.gather(*map(one, gone))
        undisturbed = sum(target.client.is_connected for target in staying)
    closed = sorted(item[0] for item in found)
    answered = sorted(item[1] for item in found)
    return {
        "nodes": nodes,
        "users": users,
        "at_once": at_once,
        "closed_p50_ms": _at(closed, 0.5),
        "closed_p99_ms": _at(closed, 0.99),
        "closed_max_ms": _at(closed, 1),
        "answered_p50_ms": _at(answered, 0.5),
        "answered_p99_ms": _at(answered, 0.99),
        "applied": sum(item[2] == "applied" for item in found),
        "undisturbed": f"{undisturbed} of {len(staying)}",
    }


def _at(sorted_seconds: list[float], part: float) -> float:
    place = min(len(sorted_seconds) - 1, int(len(sorted_seconds) * part))
    return round(sorted_seconds[place] * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--nodes", default="1,3")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for nodes in map(int, options.nodes.split(",")):
        found = asyncio.run(measure(nodes, options.users, options.at_once))
        if options.json:
            print(json.dumps(found))
        else:
            print("  ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
