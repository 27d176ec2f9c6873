"""No nats-server for a minute while changes are made: what is answered, and when they hold.

    python -m benchmarks.outage [--seconds 60] [--changes 50] [--json]

All three nats-servers are killed and started again. Then each user of a change tries to connect
to each of them until it is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

from nats.errors import Error as NatsError

from authsvc.claims import Creds
from tests.cluster import started
from tests.fixtures.cluster import Node, ReplicatedService


async def measure(seconds: float, changes: int) -> dict[str, Any]:
    """Revoke so many credentials, spread over the outage."""
    async with started() as service:
        users = [await service.login(f"user{number}@example.com") for number in range(changes)]
        for node in service.nodes:
            node.stop(kill=True)
        answers, waits, began = [], [], time.perf_counter()
        for place, (credential, creds) in enumerate(users):
            await asyncio.sleep(max(0, began + seconds * place / changes - time.perf_counter()))
            asked = time.perf_counter()
            found = await service.revoke(credential, creds, service.replicas[place % 2])
            waits.append(time.perf_counter() - asked)
            answers.append(found["state"])
        await asyncio.sleep(max(0, began + seconds - time.perf_counter()))
        for node in service.nodes:
            node.start(ready=False)
        for node in service.nodes:
            await asyncio.to_thread(node.wait_ready)
        ready = time.perf_counter()
        await asyncio.gather(
            *(_until_refused(service, creds, node) for node in service.nodes for _, creds in users)
        )
        held = time.perf_counter() - ready
    return {
        "outage_s": seconds,
        "changes": changes,
        "pending": answers.count("pending"),
        "applied_early": answers.count("applied"),
        "longest_answer_ms": round(max(waits) * 1000),
        "median_answer_ms": round(sorted(waits)[len(waits) // 2] * 1000),
        "all_hold_after_s": round(held, 2),
    }


async def _until_refused(service: ReplicatedService, creds: Creds, node: Node) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                client = await service.connect(creds, node)
            except NatsError:
                return
            await client.close()
            await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options.seconds, options.changes))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
