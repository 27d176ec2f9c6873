"""The sync client from threads against raw nats-py, and its single call against AsyncClient's.

    python -m benchmarks.sync [--json] [--rounds 7] [--seconds 1.0] [--threads 8] [--no-uvloop]

Each round measures, in alternating order: Client from so many threads, raw nats-py requests
with as many in flight and with 64, and one call after the other by Client, AsyncClient and raw.
Ratios are taken inside a round, their medians over rounds printed. All share one server and one
responder process; everything that is compared runs in this one process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import nats

from authsvc.rpc import AsyncClient, Client
from benchmarks import rpc

Rounds = dict[str, list[float]]


def threaded(call: Callable[[], Any], threads: int, seconds: float) -> float:
    """Calls per second of so many threads."""
    barrier = threading.Barrier(threads)

    def work(_: int) -> int:
        count = 0
        barrier.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            call()
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        return sum(pool.map(work, range(threads))) / (time.perf_counter() - start)


def one_by_one(call: Callable[[], Any], seconds: float) -> float:
    """The median time of a call, in microseconds."""
    took = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        call()
        took.append(time.perf_counter() - start)
    return statistics.median(took) * 1e6


async def in_flight(call: rpc.Call, count: int, seconds: float) -> float:
    """Calls per second with so many in flight."""
    start = time.perf_counter()
    end = start + seconds

    async def worker() -> int:
        done = 0
        while time.perf_counter() < end:
            await call()
            done += 1
        return done

    total = sum(await asyncio.gather(*[worker() for _ in range(count)]))
    return total / (time.perf_counter() - start)


async def measure(
    url: str, creds: dict[str, str], rounds: int, seconds: float, threads: int
) -> dict[str, Any]:
    raw = await nats.connect(url, user_credentials=creds["raw"])
    login: dict[str, Any] = {"creds": creds["alice"], "servers": [url]}

    # One of the two is connected at a time: each would get the other's answers too.
    async def blocking(measured: Callable[[Callable[[], Any]], float]) -> float:
        def run() -> float:
            with Client(**login) as client:
                peer = client.peer("bob", "bench")
                return measured(lambda: peer.call("/echo", content=rpc.PAYLOAD, timeout=5))

        return await asyncio.to_thread(run)

    async def p50(call: rpc.Call) -> float:
        return statistics.median(await rpc.sequential(call, seconds)) * 1e6

    async def async_p50() -> float:
        async with AsyncClient(**login) as client:
            peer = client.peer("bob", "bench")
            return await p50(lambda: peer.call("/echo", content=rpc.PAYLOAD, timeout=5))

    async def raw_call() -> Any:
        return await raw.request("raw.echo", rpc.PAYLOAD, timeout=5)

    steps: dict[str, Callable[[], Awaitable[float]]] = {
        "sync_rate": lambda: blocking(lambda call: threaded(call, threads, seconds)),
        "raw_rate": lambda: in_flight(raw_call, 64, seconds),
        "raw_rate_as_many": lambda: in_flight(raw_call, threads, seconds),
        "sync_p50_us": lambda: blocking(lambda call: one_by_one(call, seconds)),
        "async_p50_us": async_p50,
        "raw_p50_us": lambda: p50(raw_call),
    }
    found: Rounds = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name in sorted(steps, reverse=bool(number % 2)):
            value = await steps[name]()
            if number:  # the first round warms up
                found[name].append(value)
    await raw.close()
    return summary(found) | {"threads": threads, "payload_bytes": len(rpc.PAYLOAD)}


def summary(found: Rounds) -> dict[str, Any]:
    """Medians of the ratios inside each round, and of the figures."""

    def ratio(one: str, other: str) -> float:
        pairs = zip(found[one], found[other], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 3)

    return {
        "throughput_ratio": ratio("sync_rate", "raw_rate"),
        "throughput_ratio_as_many": ratio("sync_rate", "raw_rate_as_many"),
        "p50_ratio_to_async": ratio("sync_p50_us", "async_p50_us"),
        "p50_ratio_to_raw": ratio("sync_p50_us", "raw_p50_us"),
    } | {name: round(statistics.median(values), 1) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--no-uvloop", action="store_true", help="for raw and the responder")
    options = parser.parse_args()
    uvloop = not options.no_uvloop
    with rpc.servers(uvloop=uvloop) as (url, creds):
        found = rpc.go(
            measure(url, creds, options.rounds, options.seconds, options.threads), uvloop=uvloop
        )
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
