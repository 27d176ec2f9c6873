"""What mailboxes cost nats-server: memory, disk, time to make and to start again, latency.

    python -m benchmarks.mailboxes [--mailboxes 50,200] [--nodes 1] [--idle 10] [--json]
    python -m benchmarks.mailboxes --mailboxes 100,1000,10000
    python -m benchmarks.mailboxes --mailboxes 50,100,200 --nodes 3

Each mailbox is two streams, and the consumer of one app, each of them kept as often as there are
nats-servers. The first of each step are made by people who log in and ask for them over HTTP; the
rest, while the API is stopped, by rows and the API's own code. All is real: nats-servers,
PostgreSQL and the API are processes of their own. When there are as many mailboxes as were asked
for, the nats-servers are killed and started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from typing import Any

from authsvc.errors import Unavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service
from authsvc.server.provision.jetstream import JetStream
from benchmarks.figures import spread
from benchmarks.mailbox_making import APP, MAX_BYTES, STREAMS, looking, make, make_directly
from benchmarks.processes import MIB, Taken, taken
from tests.cluster import started
from tests.fixtures.authsvc import access_token
from tests.fixtures.cluster import ReplicatedService

CALLS = 300
BY_HTTP = 20


def person(service: ReplicatedService, name: str) -> AsyncClient:
    return AsyncClient(
        service.replicas[0].url,
        token=lambda: access_token(name),
        key=KeyPair.generate(Prefix.USER),
    )


async def stored(service: ReplicatedService, calls: int) -> dict[str, Any]:
    """Milliseconds until a request is stored, and until its stored response is there."""
    app = Service(APP, offline=True)

    @app.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    kept, answered = [], []
    async with person(service, "bob@example.com") as bob, person(service, "al@example.com") as al:
        serving = asyncio.create_task(app.serve(bob))
        await app.ready()
        peer = al.peer("bob@example.com", APP)
        for _ in range(calls):
            began = time.perf_counter()
            future = await peer.submit("/echo", content=b"x" * 64, expires="1m")
            kept.append(time.perf_counter() - began)
            await future.result(timeout=30)
            answered.append(time.perf_counter() - began)
        await app.stop()
        await serving
    return {"stored_ms": spread(kept[10:]), "answered_ms": spread(answered[10:])}


async def until_all_answer(jetstream: JetStream, streams: int) -> None:
    """Wait until nats-server shows the state of so many mailboxes' streams."""
    while True:
        with contextlib.suppress(Unavailable):
            seen = {stream["config"]["name"] async for stream in jetstream.streams()}
            if len(seen) > streams:  # and the one of dead letters
                return
        await asyncio.sleep(0.1)


async def restart_servers(service: ReplicatedService, mailboxes: int) -> dict[str, Any]:
    """Kill all nats-servers; seconds until they listen, and until every stream answers."""
    async with service.opened() as store, looking(service, store) as jetstream:
        for node in service.nodes:
            node.stop(kill=True)
        began = time.perf_counter()
        for node in service.nodes:
            node.start(ready=False)
        for node in service.nodes:
            await asyncio.to_thread(node.wait_ready, 600)
        listening = time.perf_counter() - began
        await until_all_answer(jetstream, mailboxes * STREAMS)
        answering = time.perf_counter() - began
    return {"listening_s": round(listening, 2), "all_streams_answer_s": round(answering, 2)}


async def start_api(service: ReplicatedService) -> dict[str, Any]:
    """Start the API; seconds until it is ready, and what its first look at everything takes."""
    replica = service.replicas[0]
    began = time.perf_counter()
    replica.start()
    await replica.ready()
    ready = time.perf_counter() - began
    cpu, quiet = 0.0, 0
    while quiet < 6:  # it looks at everything, then has nothing to do
        await asyncio.sleep(0.5)
        now = taken(replica.pid).cpu
        quiet, cpu = (quiet + 1, cpu) if now - cpu < 0.05 else (0, now)
    return {
        "ready_s": round(ready, 2),
        "looked_s": round(time.perf_counter() - began - 3, 1),
        "cpu_s": round(cpu, 1),
    }


Options = argparse.Namespace


def costs(before: list[Taken], after: list[Taken], mailboxes: int) -> dict[str, Any]:
    """What each nats-server takes, on average, and of that each mailbox."""
    count = len(after)

    def mean(name: str, readings: list[Taken]) -> float:
        return float(sum(getattr(it, name) for it in readings)) / count

    return {
        "mib": round(mean("resident", after) / MIB, 1),
        "kib_each": round((mean("resident", after) - mean("resident", before)) / mailboxes / 1024),
        "disk_mib": round(mean("disk", after) / MIB, 1),
        "disk_kib_each": round((mean("disk", after) - mean("disk", before)) / mailboxes / 1024),
        "descriptors": round(mean("descriptors", after)),
        "threads": round(mean("threads", after)),
    }


def take(service: ReplicatedService) -> list[Taken]:
    return [taken(node.pid, node.folder) for node in service.nodes]


async def idle(service: ReplicatedService, seconds: float) -> dict[str, float]:
    """Shares of a core that are used while nobody asks for anything."""

    def now() -> tuple[float, float]:
        nodes = sum(taken(node.pid).cpu for node in service.nodes)
        return nodes / len(service.nodes), taken(service.replicas[0].pid).cpu

    nodes, api = now()
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    later_nodes, later_api = now()
    return {
        "nats_server_core": round((later_nodes - nodes) / took, 3),
        "service_core": round((later_api - api) / took, 3),
    }


async def step(
    service: ReplicatedService, before: list[Taken], first: int, last: int, options: Options
) -> dict[str, Any]:
    """Make mailboxes up to a number, and measure with them there."""
    by_http = [await make(service, number) for number in range(first, min(last, first + BY_HTTP))]
    service.replicas[0].stop()
    left = last - first - len(by_http)
    took = await make_directly(service, last - left, last, options.at_once) if left else 0
    api = await start_api(service)
    return {
        "mailboxes": last,
        "responses_ms": spread([it[0] for it in by_http]),
        "app_ms": spread([it[1] for it in by_http]),
        "made_per_s": round(left / took, 1) if left else None,
        "idle": await idle(service, options.idle),
        **costs(before, take(service), last),
        **await stored(service, CALLS),
        "api_start": api,
        "api_mib": round(taken(service.replicas[0].pid).resident / MIB, 1),
    }


async def measure(options: Options) -> dict[str, Any]:
    steps = [int(it) for it in options.mailboxes.split(",")]
    found, made = [], 0
    async with started(
        options.nodes,
        replicas=1,
        forked=False,
        mailbox_replicas=str(options.nodes),
        mailbox_max_bytes=str(MAX_BYTES),
        mailbox_max_count=str(steps[-1] + 10),
    ) as service:
        await stored(service, 20)  # the two who measure have theirs
        before = take(service)
        for number in steps:
            found.append(await step(service, before, made, number, options))
            print(json.dumps(found[-1]), file=sys.stderr)
            made = number
        restarted = await restart_servers(service, made)
        afterwards = costs(before, take(service), made)
        for node in service.nodes:
            node.stop(kill=True)  # writing down the state of thousands of streams takes long
    return {
        "nodes": options.nodes,
        "steps": found,
        "restart": restarted,
        "after_restart": afterwards,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mailboxes", default="50,200", help="numbers at which is measured")
    parser.add_argument("--nodes", type=int, default=1, help="nats-servers, and copies of all")
    parser.add_argument("--at-once", type=int, default=4, help="mailboxes made side by side")
    parser.add_argument(
        "--idle", type=float, default=10, help="seconds for CPU of what is idle; 30 have a look"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(found))
        return
    for row in found.pop("steps"):
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    for name, value in found.items():
        print(f"{name:14} {value}")


if __name__ == "__main__":
    main()
