"""POST /v1/credentials against step-ca's token-to-certificate route, and a constant FastAPI route.

    python -m benchmarks.stepca [--databases URL URL] [--rounds N] [--json]

All are asked over 32 kept-alive connections, interleaved in one run. Tokens, proofs and requests
for certificates are made beforehand. step-ca speaks TLS only; ours is asked with TLS and without,
so that the difference shows: the load generator, which shares the machine, pays for it too. Both
are durable: each answer's rows are synced to disk before it leaves (see ``authority``). Ours is one
process of one event loop; step-ca uses every core that it finds. CPU seconds are those of the
server per request, all its threads together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.issue import CONNECTIONS, Server, make_people, prepare
from benchmarks.load import Outcome, burst
from benchmarks.processes import cpu_seconds
from benchmarks.stepca.authority import StepCa
from tests.fixtures.authority import Authority


@dataclass(frozen=True, slots=True)
class Rival:
    """One of the servers, and how it is asked."""

    name: str
    port: int
    pid: int
    requests: Callable[[int], list[bytes]]
    trust: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in one round."""

    outcome: Outcome
    cpu_us: float
    """Of the server, per request."""


async def _ask(rival: Rival, count: int) -> Turn:
    requests = rival.requests(count)
    before = cpu_seconds(rival.pid)
    outcome = await burst(rival.port, requests, CONNECTIONS, rival.trust)
    spent = cpu_seconds(rival.pid) - before
    assert set(outcome.statuses) == {201}, (rival.name, outcome.statuses)
    return Turn(outcome, spent / count * 1e6)


def _ours(name: str, server: Server, people: Any, trust: ssl.SSLContext | None = None) -> Rival:
    port, scheme = server.port, "https" if trust else "http"
    return Rival(
        name,
        port,
        server.process.pid,
        lambda count: prepare(port, people, count, scheme=scheme),
        trust,
    )


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Let them take turns."""
    authority = Authority(folder / "authority")
    pair = authority.issue(folder, "127.0.0.1")
    trust = ssl.create_default_context(cafile=str(authority.file))
    (folder / "step").mkdir()
    people = make_people(200, "known")
    databases = options.databases or [
        f"sqlite+aiosqlite:///{folder / name}" for name in ("plain.db", "tls.db")
    ]
    servers: list[Server] = []
    try:
        servers.append(Server("constant", "1900"))
        servers.append(Server("authsvc", databases[0]))
        servers.append(Server("authsvc", databases[1], str(pair.cert), str(pair.key)))
        with StepCa(folder / "step") as step:
            rivals = [
                _ours("constant", servers[0], people),
                _ours("authsvc", servers[1], people),
                _ours("authsvc over TLS", servers[2], people, trust),
                Rival("step-ca", step.port, step.pid, step.requests, step.trust),
            ]
            for rival in rivals:
                await _ask(rival, 400)
            rounds = [
                {rival.name: await _ask(rival, options.requests) for rival in rivals}
                for _ in range(options.rounds)
            ]
    finally:
        for server in servers:
            server.stop()
    return summary(rounds)


def summary(rounds: list[dict[str, Turn]]) -> dict[str, Any]:
    """Medians over the rounds; ratios are taken within a round first."""

    def ratio(one: str, other: str) -> float:
        found = (it[one].outcome.per_second / it[other].outcome.per_second for it in rounds)
        return round(statistics.median(found), 3)

    names = list(rounds[0])
    return {
        "per second": {
            name: round(statistics.median(it[name].outcome.per_second for it in rounds))
            for name in names
        },
        "cpu us per request": {
            name: round(statistics.median(it[name].cpu_us for it in rounds)) for name in names
        },
        "authsvc / step-ca": ratio("authsvc", "step-ca"),
        "authsvc over TLS / step-ca": ratio("authsvc over TLS", "step-ca"),
        "step-ca / constant": ratio("step-ca", "constant"),
        "authsvc / constant": ratio("authsvc", "constant"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", nargs=2, metavar="URL", help="SQLite unless given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(measure(options, Path(folder)))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
