"""POST /v1/credentials against a constant FastAPI route, and against one that only does crypto.

    python -m benchmarks.issue [--database URL] [--rounds N] [--json]

All three are uvicorn with uvloop and httptools, one process each, 32 connections, interleaved in
one run. The rivals: ``constant`` returns a constant dict of the same size, ``constant bytes`` the
same as ready-made bytes; ``crypto`` verifies the same proof and token, mints and reads back the
same JWT, and keeps nothing. Ours commits every row and audit event durably before it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import jwt as pyjwt
import uvloop

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix
from benchmarks.load import Outcome, burst

SECRET = "benchmark-secret-" + "x" * 32
CONNECTIONS = 32


def prepare(
    port: int,
    people: list[tuple[str, KeyPair, str]],
    count: int,
    path: str = "/v1/credentials",
    scheme: str = "http",
) -> list[bytes]:
    """Requests with a fresh proof each."""
    url = f"{scheme}://127.0.0.1:{port}/v1/credentials"
    now = time.time()
    made = []
    for number in range(count):
        _, key, token = people[number % len(people)]
        proof = dpop.make(key, "POST", url, token=token, now=now, jti=secrets.token_hex(16))
        made.append(
            (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Authorization: Bearer {token}\r\nDPoP: {proof}\r\nContent-Length: 0\r\n\r\n"
            ).encode()
        )
    return made


def access_token(email: str, seconds: int) -> str:
    """As a SyftBox server writes it, with the secret that the service was told."""
    now = int(time.time())
    claims = {
        "type": "access",
        "iss": "https://syftbox.net",
        "sub": email,
        "exp": now + seconds,
        "iat": now,
        "jti": str(uuid.uuid4()),
    }
    return pyjwt.encode(claims, SECRET, "HS256")


def make_people(count: int, label: str) -> list[tuple[str, KeyPair, str]]:
    emails = [f"{label}{number}@example.com" for number in range(count)]
    return [(it, KeyPair.generate(Prefix.USER), access_token(it, 3600)) for it in emails]


class Server:
    """One of the three, in a process of its own."""

    def __init__(self, kind: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.issue_servers", kind, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port = int(line.split()[1])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


async def measure(options: argparse.Namespace, database: str) -> dict[str, Any]:
    size = 1900
    servers = {
        "authsvc": Server("authsvc", database),
        "crypto": Server("crypto"),
        "constant": Server("constant", str(size)),
    }
    try:
        known = make_people(200, "known")
        for name, server in servers.items():
            warm = await burst(server.port, prepare(server.port, known, 600), CONNECTIONS)
            assert set(warm.statuses) == {201}, (name, warm.statuses)
        rounds: list[dict[str, Outcome]] = []
        for number in range(options.rounds):
            found: dict[str, Outcome] = {}
            for name, server in servers.items():
                requests = prepare(server.port, known, options.requests)
                found[name] = await burst(server.port, requests, CONNECTIONS)
            port = servers["constant"].port
            requests = prepare(port, known, options.requests, "/bytes")
            found["constant bytes"] = await burst(port, requests, CONNECTIONS)
            newcomers = make_people(options.requests, f"new{number}-")
            requests = prepare(servers["authsvc"].port, newcomers, options.requests)
            found["first login"] = await burst(servers["authsvc"].port, requests, CONNECTIONS)
            for name, outcome in found.items():
                assert set(outcome.statuses) == {201}, (name, outcome.statuses)
            rounds.append(found)
    finally:
        for server in servers.values():
            server.stop()
    return summary(rounds)


def summary(rounds: list[dict[str, Outcome]]) -> dict[str, Any]:
    def ratio(one: str, other: str) -> float:
        return statistics.median(r[one].per_second / r[other].per_second for r in rounds)

    answer: dict[str, Any] = {
        f"{name} per second": round(statistics.median(r[name].per_second for r in rounds))
        for name in rounds[0]
    }
    answer["authsvc / constant"] = round(ratio("authsvc", "constant"), 3)
    answer["authsvc / crypto"] = round(ratio("authsvc", "crypto"), 3)
    answer["authsvc / constant bytes"] = round(ratio("authsvc", "constant bytes"), 3)
    answer["first login / constant"] = round(ratio("first login", "constant"), 3)
    answer["first login / crypto"] = round(ratio("first login", "crypto"), 3)
    latencies = sorted(x for r in rounds for x in r["authsvc"].latencies)
    answer["authsvc p50 ms"] = round(latencies[len(latencies) // 2] * 1000, 2)
    answer["authsvc p99 ms"] = round(latencies[len(latencies) * 99 // 100] * 1000, 2)
    answer["answer bytes"] = [rounds[0][name].body_bytes for name in ("authsvc", "constant")]
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", help="a database URL; SQLite in a new folder unless given")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = options.database or f"sqlite+aiosqlite:///{Path(folder) / 'bench.db'}"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            found = runner.run(measure(options, database))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
