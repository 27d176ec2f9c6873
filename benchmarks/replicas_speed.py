"""Logins at two replicas of the API against one, over one PostgreSQL.

    python -m benchmarks.replicas_speed [--rounds 5] [--requests 1500] [--json]

A machine of two cores has no third for PostgreSQL and for who asks, so both are shared out:

    one core       PostgreSQL, one replica and the process that asks it, all on the first core
    two cores      PostgreSQL, two replicas and a process that asks each, on both cores
    one, unpinned  one replica and the process that asks it, with PostgreSQL on both cores

Rounds take turns; 32 connections to each replica. PostgreSQL is one server in all of them, as it
would be, with every commit synced to disk. CPU microseconds are per login, of all processes of a
kind together.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.issue import CONNECTIONS, Server, make_people, prepare
from benchmarks.load import burst
from benchmarks.processes import children, cpu_seconds
from tests.fixtures.postgres import running

_WARM = 400


@contextlib.contextmanager
def postgres() -> Iterator[tuple[str, int]]:
    """A database of its own: its URL, and the process id of PostgreSQL."""
    with running() as (server, pid):
        asyncio.run(server.sql("CREATE DATABASE authsvc"))
        yield server.url("authsvc"), pid


class Asker:
    """A process that asks one replica: ``prepare``, then ``go`` when everybody is prepared."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.replicas_speed", "--ask", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def ask(port: int) -> None:
    """What such a process does."""
    people = make_people(200, f"known{port}-")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            requests = prepare(port, people, int(line))
            print(json.dumps("prepared"), flush=True)
            sys.stdin.readline()
            found = runner.run(burst(port, requests, CONNECTIONS))
            assert set(found.statuses) == {201}, found.statuses
            print(json.dumps({"seconds": found.seconds}), flush=True)


@dataclass(frozen=True, slots=True)
class Turn:
    """Logins per second of all together, and CPU microseconds per login by kind of process."""

    per_second: float
    cpu_us: dict[str, int]


@dataclass
class Bench:
    """What runs all the while, and what is asked in a turn."""

    database: int
    servers: list[Server]
    askers: list[Asker]

    def turn(self, replicas: int, cores: set[int], requests: int) -> Turn:
        """So many replicas on these cores."""
        servers = [server.process.pid for server in self.servers[:replicas]]
        asking = [asker.process.pid for asker in self.askers[:replicas]]
        kinds = {"PostgreSQL": self._databases(), "replicas": servers, "asking": asking}
        for pids in kinds.values():
            for pid in pids:
                _pin(pid, cores)
        askers = self.askers[:replicas]
        for asker in askers:
            asker.say(str(requests))
        for asker in askers:
            asker.hear()
        before = {kind: sum(map(cpu_seconds, pids)) for kind, pids in kinds.items()}
        for asker in askers:
            asker.say("go")
        seconds = max(asker.hear()["seconds"] for asker in askers)
        count = requests * replicas
        spent = {
            kind: round((sum(map(cpu_seconds, pids)) - before[kind]) / count * 1e6)
            for kind, pids in kinds.items()
        }
        return Turn(count / seconds, spent)

    def _databases(self) -> list[int]:
        return [self.database, *children(self.database)]


def _pin(pid: int, cores: set[int]) -> None:
    """Every thread of it: only those to come follow the first one."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def measure(rounds: int, requests: int) -> dict[str, Any]:
    """Let the three ways take turns."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed")
    one, both = {cores[0]}, set(cores[:2])
    ways = {"one core": (1, one), "two cores": (2, both), "one, unpinned": (1, both)}
    os.environ["AUTHSVC_MASTER_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
    with postgres() as (url, pid), contextlib.ExitStack() as stack:
        servers, askers = [], []
        for _ in range(2):
            servers.append(Server("authsvc", url))
            stack.callback(servers[-1].stop)
            askers.append(Asker(servers[-1].port))
            stack.callback(askers[-1].stop)
        bench = Bench(pid, servers, askers)
        bench.turn(2, both, _WARM)
        found = [
            {name: bench.turn(*way, requests) for name, way in ways.items()} for _ in range(rounds)
        ]
    return summary(found)


def summary(rounds: list[dict[str, Turn]]) -> dict[str, Any]:
    """Medians; ratios are taken within a round first."""

    def ratio(other: str) -> float:
        found = (it["two cores"].per_second / it[other].per_second for it in rounds)
        return round(statistics.median(found), 2)

    return {
        "per second": {
            name: round(statistics.median(it[name].per_second for it in rounds))
            for name in rounds[0]
        },
        "cpu us per login": {
            name: {
                kind: round(statistics.median(it[name].cpu_us[kind] for it in rounds))
                for kind in rounds[0][name].cpu_us
            }
            for name in rounds[0]
        },
        "two on two cores / one on one": ratio("one core"),
        "two / one, unpinned": ratio("one, unpinned"),
        "shared": "one PostgreSQL: its CPU, its disk's syncs, and the rows of who logs in",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1500, help="of each replica and turn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ask", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask)
        return
    found = measure(options.rounds, options.requests)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
