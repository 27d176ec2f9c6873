"""Two replicas that revoke at once, on three nats-servers: nothing lost, ``iat`` strictly rising.

    python -m benchmarks.replicas [--changes 1000] [--at-once 50] [--json]

What the servers themselves hold is looked at all the while, by a user of the system account.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

from authsvc.claims import Creds
from tests.cluster import started


async def measure(changes: int, at_once: int) -> dict[str, Any]:
    """Revoke so many credentials by two replicas in turn."""
    async with started() as service:
        gate = asyncio.Semaphore(at_once)

        async def login(number: int) -> tuple[str, Creds]:
            async with gate:
                replica = service.replicas[number % 2]
                return await service.login(f"user{number}@example.com", replica)

        async def revoke(place: int) -> str:
            async with gate:
                credential, creds = users[place]
                found = await service.revoke(credential, creds, service.replicas[place % 2])
                return str(found["state"])

        users = await asyncio.gather(*map(login, range(changes)))
        async with service.observed() as observer:
            began = time.perf_counter()
            states = await asyncio.gather(*map(revoke, range(changes)))
            seconds = time.perf_counter() - began
        keys = {creds.key.public.text for _, creds in users}
        return {
            "changes": changes,
            "seconds": round(seconds, 1),
            "applied": states.count("applied"),
            **observer.check(keys),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options.changes, options.at_once))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
