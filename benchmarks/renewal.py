"""Credentials with a short life under constant calls on every road: renewals, lost calls, times.

    python -m benchmarks.renewal [--ttl 8] [--renewals 24] [--json]

One process runs the product: service, nats-server, alice's apps (one of the library, one of
FastAPI), bob's AsyncClient and carol's Client with its threads, both with httpx besides. Behind
``authsvc rpc bridge``, a process of its own, stands dave's HTTP server. Each of the four renews
so many times.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Client, Service, run
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc.http import AsgiService
from tests.fixtures.authsvc import LiveService, access_token, live_service
from tests.rpc.load import ASGI_APP, BRIDGED_APP, Load, echo, http_server, web

ALICE, BOB, CAROL, DAVE = (f"{name}@example.com" for name in ("alice", "bob", "carol", "dave"))
Arguments = dict[str, Any]


def arguments(email: str) -> Arguments:
    """How to log in."""
    return {"token": lambda: access_token(email), "key": KeyPair.generate(Prefix.USER)}


@contextlib.asynccontextmanager
async def serving(client: AsyncClient, *services: Service) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(service.serve(client)) for service in services]
    try:
        for service in services:
            await service.ready()
        yield
    finally:
        for service in services:
            await service.stop()
        await asyncio.gather(*tasks)


@contextlib.asynccontextmanager
async def bridge(url: str, target: str, folder: Path) -> AsyncIterator[None]:
    """``authsvc rpc bridge`` as dave."""
    token = folder / "dave.token"
    token.write_text(access_token(DAVE))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "authsvc", "rpc", "bridge", "--app-name", BRIDGED_APP),
        *("--target", target, "--url", url, "--token-file", str(token)),
        *("--key", str(folder / "dave.nk")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert (await process.stdout.readline()).startswith(b"ready")
        yield
    finally:
        process.terminate()
        await process.wait()


async def renewed(service: LiveService) -> Counter[str]:
    """How often each has renewed, by the user's id, as the audit knows."""
    found: Counter[str] = Counter()
    cursor = ""
    while True:
        page = await service.admin(
            "GET", f"/v1/admin/audit?action=credential.renew&limit=1000{cursor}"
        )
        body = page.raise_for_status().json()
        found.update(item["actor"]["id"] for item in body["items"])
        if body["next_cursor"] is None:
            return found
        cursor = f"&cursor={body['next_cursor']}"


async def measure(ttl: int, renewals: int) -> dict[str, Any]:
    load = Load()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite+aiosqlite:///{folder / 'authsvc.db'}"
        service = await stack.enter_async_context(live_service(folder, url, credential_ttl=ttl))
        target = await stack.enter_async_context(http_server(web()))
        alice, bob = [
            await stack.enter_async_context(AsyncClient(service.url, **arguments(email)))
            for email in (ALICE, BOB)
        ]
        carol = Client(service.url, **arguments(CAROL))
        stack.push_async_callback(in_thread, carol.close)
        await in_thread(carol.connect)
        await stack.enter_async_context(serving(alice, echo(), AsgiService(web(), ASGI_APP)))
        await stack.enter_async_context(bridge(service.url, target, folder))
        async with load.over_all(bob, carol, ALICE, DAVE):
            counts = await renewed(service)
            while len(counts) < 4 or min(counts.values()) < renewals:
                await asyncio.sleep(ttl / 4)
                counts = await renewed(service)
    return {"renewals": min(counts.values()), **summary(load)}


def summary(load: Load) -> dict[str, Any]:
    """What was called and lost, and the milliseconds that calls took, by road."""

    def times(took: list[float]) -> dict[str, float]:
        took = sorted(took)
        at: Callable[[float], float] = lambda share: took[int((len(took) - 1) * share)]  # noqa: E731
        return {
            "calls": len(took),
            "p50_ms": round(at(0.5) * 1000, 2),
            "p99_ms": round(at(0.99) * 1000, 2),
            "slowest_ms": round(took[-1] * 1000, 2),
        }

    return {
        "calls": load.calls,
        "lost": len(load.lost),
        "losses": load.lost[:10],
        "roads": {road: times(took) for road, took in load.took.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ttl", type=int, default=8)
    parser.add_argument("--renewals", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = run(measure(options.ttl, options.renewals))
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['renewals']} renewals of each, {found['calls']} calls, {found['lost']} lost")
    for road, times in found["roads"].items():
        print(f"{road:24} " + "  ".join(f"{name} {value}" for name, value in times.items()))
    for loss in found["losses"]:
        print(loss)


if __name__ == "__main__":
    main()
