"""Memory: no leak over many calls, and what a pending call or future takes.

    python -m benchmarks.leak [--json] [--calls 1000000] [--pending 10000]

One requester and one responder process on a nats-server of their own, 64 calls at a time. The
resident memory of both is read fifty times on the way; the slope is that of the straight line
through the readings of the second half, in bytes per call. A leak of one object per call would
be 50 or more.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from authsvc.rpc import AsyncClient, Request, Service, run
from benchmarks.figures import slope
from benchmarks.processes import resident
from benchmarks.rpc import free_port, server_config

READINGS = 50
CONCURRENCY = 64
PAYLOAD = b"x" * 64
# Deadlines are kept by the tick, 64 a second, until their time is over: with 30 s the memory of a
# quick run would grow by some MiB until then, which is no leak.
TIMEOUT = 5.0


async def respond(url: str, creds: str) -> None:
    service = Service("bench", concurrency=20_000)

    @service.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    @service.on_request("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    async with AsyncClient(creds=creds, servers=[url]) as client:
        await service.serve(client, on_ready=lambda: print("ready", flush=True))


async def run_calls(client: AsyncClient, calls: int, responder: int) -> dict[str, Any]:
    """Calls per second, and how memory went meanwhile."""
    bob = client.peer("bob", "bench")
    mine: list[tuple[int, int]] = []
    other: list[tuple[int, int]] = []
    left = 0

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            response = await bob.call("/echo", content=PAYLOAD, timeout=TIMEOUT)
            assert response.content == PAYLOAD

    begin = time.perf_counter()
    for number in range(1, READINGS + 1):
        left = calls // READINGS
        await asyncio.gather(*[work() for _ in range(CONCURRENCY)])
        done = number * (calls // READINGS)
        gc.collect()
        mine.append((done, resident("self")))
        other.append((done, resident(responder)))
    took = time.perf_counter() - begin
    half = READINGS // 2
    return {
        "calls": done,
        "calls_per_s": round(done / took),
        "requester_bytes_per_call": round(slope(mine[half:]), 3),
        "responder_bytes_per_call": round(slope(other[half:]), 3),
        "requester_mib": [round(mine[place][1] / 2**20, 1) for place in (0, half, -1)],
        "responder_mib": [round(other[place][1] / 2**20, 1) for place in (0, half, -1)],
    }


async def pending_calls(client: AsyncClient, count: int) -> dict[str, Any]:
    """What a call that waits takes, task included, by Python's own count."""
    bob = client.peer("bob", "bench")
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    tasks = [asyncio.create_task(bob.call("/never", timeout=600)) for _ in range(count)]
    while client.stats.calls < count:  # noqa: ASYNC110  a counter has no event
        await asyncio.sleep(0.05)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    del task, tasks
    await asyncio.sleep(0.1)  # the step that gathered them still held them
    gc.collect()
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "pending": count,
        "bytes_per_pending_call": round((after - before) / count),
        "bytes_per_call_left_after": round((left - before) / count, 1),
    }


async def requester(url: str, creds: str, responder: int, options: Any) -> dict[str, Any]:
    async with AsyncClient(creds=creds, servers=[url]) as client:
        found = await run_calls(client, options.calls, responder)
    async with AsyncClient(creds=creds, servers=[url]) as client:
        return found | await pending_calls(client, options.pending)


@contextmanager
def process(*command: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, **options) as started:
        try:
            yield started
        finally:
            started.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--pending", type=int, default=10_000)
    parser.add_argument("--respond", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.respond:
        run(respond(*options.respond))
        return
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        config, creds = server_config(folder, port)
        (folder / "nats.conf").write_text(config)
        url = f"nats://127.0.0.1:{port}"
        beside = Path(sys.executable).with_name("nats-server")
        binary = str(beside) if beside.exists() else "nats-server"
        with process(binary, "-c", str(folder / "nats.conf"), stderr=subprocess.DEVNULL):
            time.sleep(0.5)
            command = (sys.executable, "-m", "benchmarks.leak", "--respond", url, creds["bob"])
            with process(*command, stdout=subprocess.PIPE) as responder:
                assert responder.stdout is not None
                assert responder.stdout.readline().strip() == b"ready"
                found = run(requester(url, creds["alice"], responder.pid, options))
    if options.json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key:28} {value}")


if __name__ == "__main__":
    main()
