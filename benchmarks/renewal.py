"""A credential with a short life under constant calls: renewals, lost calls, the slowest call.

    python -m benchmarks.renewal [--ttl 20] [--renewals 5] [--json]

One process runs the whole product: service, nats-server, alice's app and bob's client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service, run
from tests.fixtures.authsvc import access_token, live_service


async def measure(ttl: int, renewals: int, callers: int) -> dict[str, Any]:
    app = Service("echo")

    @app.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    latencies: list[float] = []
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        url = f"sqlite+aiosqlite:///{data / 'authsvc.db'}"
        async with live_service(data, url, credential_ttl=ttl) as service:

            def client(email: str) -> AsyncClient:
                return AsyncClient(
                    service.url,
                    token=lambda: access_token(email),
                    key=KeyPair.generate(Prefix.USER),
                )

            async with client("alice@example.com") as alice, client("bob@example.com") as bob:
                serving = asyncio.create_task(app.serve(alice))
                await app.ready()
                peer = bob.peer("alice@example.com", "echo")

                async def call() -> None:
                    nonlocal lost
                    while min(alice.stats.renewals, bob.stats.renewals) < renewals:
                        started = time.perf_counter()
                        try:
                            response = await peer.call("/echo", content=b"x" * 64, timeout=5)
                            lost += response.content != b"x" * 64
                        except Exception:  # noqa: BLE001 - whatever it was, the call is lost
                            lost += 1
                        latencies.append(time.perf_counter() - started)
                        await asyncio.sleep(0.005)

                await asyncio.gather(*(call() for _ in range(callers)))
                await app.stop()
                await serving
    latencies.sort()
    return {
        "renewals": renewals,
        "calls": len(latencies),
        "lost": lost,
        "p50_ms": round(latencies[len(latencies) // 2] * 1000, 2),
        "p99_ms": round(latencies[len(latencies) * 99 // 100] * 1000, 2),
        "slowest_ms": round(latencies[-1] * 1000, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ttl", type=int, default=20)
    parser.add_argument("--renewals", type=int, default=5)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = run(measure(options.ttl, options.renewals, options.callers))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:12} {value}")


if __name__ == "__main__":
    main()
