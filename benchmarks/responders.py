"""A thousand people's apps that wait for calls: memory, latency, a lost nats-server, revocation.

    python -m benchmarks.responders [--responders 1000] [--few 10] [--processes 4] [--json]

Each responder is somebody with an nkey, a JWT and a connection of their own, logged in over HTTP.
They live in a few processes, so what each takes there is the library's share. nats-server,
PostgreSQL and the API are processes of their own. Calls go to one responder after the other, one
at a time, first with few connected, then with all.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from authsvc.errors import Disconnected
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service, run
from benchmarks.figures import spread
from benchmarks.processes import MIB, Taken, resident, taken
from benchmarks.revocation import Target
from tests.cluster import started
from tests.fixtures.authsvc import access_token
from tests.fixtures.cluster import ReplicatedService

APP = "echo"
AT_ONCE = 8
_LIMIT = 64 << 20
"""Of a line with the tokens of all whom a process shall be."""


async def respond() -> None:
    """Be the people whom the parent names, and tell it how they are."""
    lines = asyncio.StreamReader(limit=_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    url, tokens = json.loads(await lines.readline())
    gc.collect()
    before, gate = resident("self"), asyncio.Semaphore(AT_ONCE)
    clients = [AsyncClient(url, token=it, key=KeyPair.generate(Prefix.USER)) for it in tokens]
    tasks = []

    async def serve(client: AsyncClient) -> None:
        service = Service(APP)

        @service.on_request("/echo")
        async def echo(request: Request) -> bytes:
            return request.content

        async with gate:
            await connect(client)
            tasks.append(asyncio.create_task(service.serve(client)))
            await service.ready()

    await asyncio.gather(*map(serve, clients))
    gc.collect()
    tell(each=round((resident("self") - before) / len(clients)))
    while await lines.readline():  # nats-server is about to be killed
        await all_are(clients, connected=False)
        tell(gone=time.time())
        await all_are(clients, connected=True)
        tell(back=time.time())


async def connect(client: AsyncClient) -> None:
    """Connect; nats-server gives up on who takes two seconds, as so many at once may."""
    for _ in range(5):
        with contextlib.suppress(Disconnected):
            await client.connect()
            return
    await client.connect()


def tell(**found: float) -> None:
    print(json.dumps(found), flush=True)


async def all_are(clients: list[AsyncClient], *, connected: bool) -> None:
    def is_so(client: AsyncClient) -> bool:
        connection = client.session.connection
        return (connection is not None and connection.is_connected) == connected

    while not all(map(is_so, clients)):  # noqa: ASYNC110  there is no event for all of them
        await asyncio.sleep(0.02)


class Group:
    """A process of responders."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, question: Any, *answers: str) -> dict[str, Any]:
        """Send a line; what comes back until the last of the answers did."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question).encode() + b"\n")
        await stdin.drain()
        found: dict[str, Any] = {}
        while not found.keys() >= set(answers):
            line = await stdout.readline()
            assert line, "a process of responders ended"
            found |= json.loads(line)
        return found


@asynccontextmanager
async def groups(count: int) -> AsyncIterator[list[Group]]:
    """So many processes, without responders yet."""
    command = (sys.executable, "-m", "benchmarks.responders", "--respond")
    pipe = asyncio.subprocess.PIPE
    started_all = [
        await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        for _ in range(count)
    ]
    try:
        yield [Group(process) for process in started_all]
    finally:
        for process in started_all:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def names(first: int, last: int) -> list[str]:
    return [f"app{number:05}@example.com" for number in range(first, last)]


async def join(service: ReplicatedService, group: Group, people: list[str]) -> int:
    """Let a process be these people; the bytes of its memory that each takes."""
    tokens = [access_token(name) for name in people]
    found = await group.ask([service.replicas[0].url, tokens], "each")
    return int(found["each"])


async def call(service: ReplicatedService, people: list[str], calls: int) -> dict[str, float]:
    """Milliseconds of calls to one after the other."""
    took = []
    async with AsyncClient(
        service.replicas[0].url,
        token=lambda: access_token("caller@example.com"),
        key=KeyPair.generate(Prefix.USER),
    ) as client:
        peers = [client.peer(name, APP) for name in people]
        for number in range(calls + 50):
            began = time.perf_counter()
            answer = await peers[number % len(peers)].call("/echo", content=b"x" * 64, timeout=20)
            took.append(time.perf_counter() - began)
            assert answer.content == b"x" * 64
    return spread(took[50:])


async def revoke(service: ReplicatedService, count: int) -> dict[str, Any]:
    """Milliseconds until who is revoked is cut off, and until all servers have confirmed it."""
    targets = [Target(service, place) for place in range(count)]
    for target in targets:
        await target.open()
    node, replica = service.nodes[0].pid, service.replicas[0].pid
    before = taken(node).cpu, taken(replica).cpu
    found = [await target.revoke() for target in targets]
    after = taken(node).cpu, taken(replica).cpu
    await service.disconnect()
    return {
        "nats_server_cpu_ms": round((after[0] - before[0]) / count * 1000, 1),
        "api_cpu_ms": round((after[1] - before[1]) / count * 1000, 1),
        "closed_ms": spread([it[0] for it in found]),
        "answered_ms": spread([it[1] for it in found]),
        "applied": sum(it[2] == "applied" for it in found),
    }


async def storm(service: ReplicatedService, all_groups: list[Group]) -> dict[str, float]:
    """Kill nats-server and start it at once; seconds until every responder is back."""
    node = service.nodes[0]
    asked = [asyncio.create_task(group.ask("kill", "gone", "back")) for group in all_groups]
    await asyncio.sleep(0.5)
    node.stop(kill=True)
    began = time.time()
    await asyncio.to_thread(node.start)
    listening = time.time()
    found = await asyncio.gather(*asked)
    back = max(it["back"] for it in found)
    return {
        "listening_s": round(listening - began, 2),
        "all_back_s": round(back - began, 2),
        "after_listening_s": round(back - listening, 2),
    }


def each(before: Taken, after: Taken, count: int) -> dict[str, float]:
    return {
        "nats_server_mib": round(after.resident / MIB, 1),
        "nats_server_kib_each": round((after.resident - before.resident) / count / 1024, 1),
        "nats_server_threads": after.threads,
        "nats_server_descriptors": after.descriptors,
    }


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    count, few, processes = options.responders, options.few, options.processes
    everybody = names(0, count)
    async with started(1, replicas=1, forked=False) as service, groups(processes + 1) as made:
        node = service.nodes[0]
        await join(service, made[0], everybody[:few])
        before = taken(node.pid)
        found: dict[str, Any] = {"few": few, "responders": count}
        found["call_ms_with_few"] = await call(service, everybody[:few], options.calls)
        found["revocation_with_few"] = await revoke(service, options.revocations)
        began, cpu = time.perf_counter(), taken(service.replicas[0].pid).cpu
        shares = [everybody[few + place : count : processes] for place in range(processes)]
        sizes = [join(service, group, share) for group, share in zip(made[1:], shares, strict=True)]
        found["library_kib_each"] = round(max(await asyncio.gather(*sizes)) / 1024, 1)
        found["joined_per_s"] = round((count - few) / (time.perf_counter() - began), 1)
        found["api_cpu_s_to_join"] = round(taken(service.replicas[0].pid).cpu - cpu, 1)
        found |= each(before, taken(node.pid), count - few)
        found["call_ms_with_all"] = await call(service, everybody, options.calls)
        found["call_ms_same_few_with_all"] = await call(service, everybody[:few], options.calls)
        found["revocation_with_all"] = await revoke(service, options.revocations)
        found["restart"] = await storm(service, made)
        found["call_ms_afterwards"] = await call(service, everybody, options.calls)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--responders", type=int, default=1000)
    parser.add_argument("--few", type=int, default=10, help="how many there are at first")
    parser.add_argument("--processes", type=int, default=4, help="in which the others live")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--revocations", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--respond", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.respond:
        run(respond())
        return
    found = asyncio.run(measure(options))
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:26} {value}")


if __name__ == "__main__":
    main()
