"""POST /v1/credentials against step-ca's token-to-certificate route, and a constant FastAPI route.

    python -m benchmarks.stepca [--rounds N] [--requests N] [--json]

All are asked over 32 kept-alive connections, interleaved in one run. Tokens, proofs and requests
for certificates are made beforehand. step-ca speaks TLS only; ours is asked with TLS and without,
so that the difference shows: the load generator, which shares the machine, pays for it too. Both
are durable: each answer's rows are synced to disk before it leaves (see ``authority``).

step-ca uses every core that it finds, a process of ours is one event loop. So it is done twice:

    one core each  every server on the first core from its start on, the load generator on the
                   second. Go, which sees one core, runs one thread at a time, and all of step-ca
                   waits while that one syncs a file. So it runs two (GOMAXPROCS), and is asked as
                   Go would have it beside
    all cores      nothing is pinned: step-ca on every core, one process of ours, and two
                   replicas over one PostgreSQL that share the connections

CPU time is that of all threads and processes of a server per request, with PostgreSQL's where
there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import secrets
import ssl
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from benchmarks.issue import CONNECTIONS, Server, make_people, prepare
from benchmarks.load import burst
from benchmarks.processes import children, cpu_seconds, on_cores
from benchmarks.replicas_speed import postgres
from benchmarks.stepca.authority import StepCa, built
from tests.fixtures.authority import Authority

_WARM = 600


@dataclass(frozen=True, slots=True)
class Rival:
    """One of the servers, and how it is asked.

    Args:
        ports: Several are of replicas, which share the connections and the requests.
        pids: Whose CPU time counts.
        requests: So many for a port.
        trust: For TLS.
    """

    ports: list[int]
    pids: Callable[[], list[int]]
    requests: Callable[[int, int], list[bytes]]
    trust: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in one round: answers per second, CPU microseconds for each."""

    per_second: float
    cpu_us: float


async def _ask(name: str, rival: Rival, count: int) -> Turn:
    share = len(rival.ports)
    made = [rival.requests(port, count // share) for port in rival.ports]
    pids = rival.pids()
    before = sum(map(cpu_seconds, pids))
    outcomes = await asyncio.gather(
        *(
            burst(port, requests, CONNECTIONS // share, rival.trust)
            for port, requests in zip(rival.ports, made, strict=True)
        )
    )
    spent = sum(map(cpu_seconds, pids)) - before
    for outcome in outcomes:
        assert set(outcome.statuses) == {201}, (name, outcome.statuses)
    answers = sum(outcome.requests for outcome in outcomes)
    return Turn(
        answers / max(outcome.seconds for outcome in outcomes),
        spent / answers * 1e6,
    )


class Bench:
    """The servers of one setting, which run while the block lasts.

    Args:
        folder: Empty, for what they keep.
    """

    def __init__(self, folder: Path) -> None:
        self.rivals: dict[str, Rival] = {}
        self._folder = folder
        self._people = make_people(200, "known")
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self) -> None:
        """Ours, and what they are compared with."""
        authority = Authority(self._folder / "authority")
        pair = authority.issue(self._folder, "127.0.0.1")
        trust = ssl.create_default_context(cafile=str(authority.file))
        plain, tls = (f"sqlite+aiosqlite:///{self._folder / it}.db" for it in ("plain", "tls"))
        self._ours("constant", [self._server("constant", "1900")])
        self._ours("authsvc", [self._server("authsvc", plain)])
        server = self._server("authsvc", tls, str(pair.cert), str(pair.key))
        self._ours("authsvc over TLS", [server], trust=trust)

    def start_step(self, name: str, threads: int | None = None) -> None:
        """A step-ca, in which Go runs so many threads at once."""
        folder = self._folder / name
        folder.mkdir()
        step = self._stack.enter_context(StepCa(folder, threads))
        self.rivals[name] = Rival(
            [step.port], lambda: [step.pid], lambda _port, count: step.requests(count), step.trust
        )

    def start_replicas(self) -> None:
        """Two of ours over one PostgreSQL."""
        url, pid = self._stack.enter_context(postgres())
        servers = [self._server("authsvc", url) for _ in range(2)]
        self._ours("two replicas of authsvc", servers, database=pid)

    def _server(self, *arguments: str) -> Server:
        server = Server(*arguments)
        self._stack.callback(server.stop)
        return server

    def _ours(
        self,
        name: str,
        servers: list[Server],
        *,
        trust: ssl.SSLContext | None = None,
        database: int | None = None,
    ) -> None:
        scheme = "https" if trust else "http"

        def pids() -> list[int]:
            stores = [] if database is None else [database, *children(database)]
            return [*(server.process.pid for server in servers), *stores]

        self.rivals[name] = Rival(
            [server.port for server in servers],
            pids,
            lambda port, count: prepare(port, self._people, count, scheme=scheme),
            trust,
        )

    def rounds(self, rounds: int, requests: int) -> list[dict[str, Turn]]:
        """Let them take turns."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            for name, rival in self.rivals.items():
                runner.run(_ask(name, rival, _WARM))
            return [
                {
                    name: runner.run(_ask(name, rival, requests))
                    for name, rival in self.rivals.items()
                }
                for _ in range(rounds)
            ]


def measure(rounds: int, requests: int) -> dict[str, Any]:
    """Both settings, one after the other."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed")
    built()
    os.environ["AUTHSVC_MASTER_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
    found = {}
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        with on_cores(cores[:1]):
            bench.start()
            bench.start_step("step-ca", threads=2)
            bench.start_step("step-ca, GOMAXPROCS=1", threads=1)
        with on_cores(cores[1:2]):
            found["one core each"] = summary(bench.rounds(rounds, requests))
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        bench.start()
        bench.start_step("step-ca")
        bench.start_replicas()
        found["all cores"] = summary(bench.rounds(rounds, requests))
    return found


def summary(rounds: list[dict[str, Turn]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are taken within a round first."""

    def ratio(one: str, other: str) -> float:
        found = (it[one].per_second / it[other].per_second for it in rounds)
        return round(statistics.median(found), 3)

    def cpu(other: str) -> float:
        found = (it["step-ca"].cpu_us / it[other].cpu_us for it in rounds)
        return round(statistics.median(found), 3)

    names = list(rounds[0])
    ours = [name for name in names if "authsvc" in name]
    return {
        "per second": {
            name: round(statistics.median(it[name].per_second for it in rounds)) for name in names
        },
        "cpu us per request": {
            name: round(statistics.median(it[name].cpu_us for it in rounds)) for name in names
        },
        **{f"{name} / step-ca": ratio(name, "step-ca") for name in ours},
        "step-ca / constant": ratio("step-ca", "constant"),
        "authsvc / constant": ratio("authsvc", "constant"),
        "cpu, step-ca / authsvc": cpu("authsvc"),
        "cpu, step-ca / authsvc over TLS": cpu("authsvc over TLS"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1500, help="of each server and turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.rounds, options.requests)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
