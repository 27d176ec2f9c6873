"""Users by the hundred thousand: how quick they are imported, and what they cost the others.

    python -m benchmarks.users [--users 100000] [--databases URL URL] [--json]

Two services run in processes of their own, each with a database of its own: one keeps 100 users,
the other gets all. Logging in, listing, searching and revoking take turns between the two.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from authsvc import dpop
from authsvc.nkey import KeyPair, Prefix
from benchmarks.processes import MIB, resident
from benchmarks.product import Up, started

FIRST = 100
ROUNDS = 60


class Client:
    """An administrator, and whoever logs in."""

    def __init__(self, up: Up) -> None:
        headers = {"Authorization": f"Bearer {up.api_key}"}
        self.http = httpx.Client(base_url=up.url, headers=headers, timeout=120)
        self.url = up.url

    def login(self, email: str) -> str:
        key, path = KeyPair.generate(Prefix.USER), "/v1/credentials"
        proof = dpop.make(
            key, "POST", self.url + path, token=email, now=time.time(), jti=secrets.token_hex(16)
        )
        headers = {"Authorization": f"Bearer {email}", "DPoP": proof}
        answer = self.http.post(path, headers=headers)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def get(self, query: str) -> None:
        self.http.get(f"/v1/admin/users?{query}").raise_for_status()

    def read(self, name: str) -> None:
        self.http.get(f"/v1/admin/users/{name}").raise_for_status()

    def revoke(self, credential: str) -> None:
        answer = self.http.post(f"/v1/admin/credentials/{credential}/revoke")
        assert answer.json()["propagation"]["state"] == "applied"

    def load(self, first: int, last: int) -> float:
        """Import users; the seconds that it took."""

        def body() -> Iterator[bytes]:
            for start in range(first, last, 1000):
                yield b"".join(
                    b'{"username":"user%06d@example.com"}\n' % n
                    for n in range(start, min(start + 1000, last))
                )

        started, lines = time.perf_counter(), 0
        with self.http.stream("POST", "/v1/admin/users:import", content=body()) as answer:
            for line in answer.iter_lines():
                assert json.loads(line)["status"] == "created"
                lines += 1
        assert lines == last - first
        return time.perf_counter() - started


def latencies(clients: Sequence[Client]) -> list[dict[str, float]]:
    """Medians in milliseconds for each client; they take turns, so all meet the same noise."""
    found: list[dict[str, float]] = [{} for _ in clients]
    ids: list[list[str]] = [[] for _ in clients]
    steps: dict[str, Callable[[Client, list[str], str], Any]] = {
        "login": lambda client, own, name: own.append(client.login(name)),
        "list": lambda client, _, __: client.get("limit=100"),
        "search": lambda client, _, name: client.get(f"search={name[:10]}"),
        "read": lambda client, _, name: client.read(name),
        "revoke": lambda client, own, _: client.revoke(own.pop()),
    }
    for step, call in steps.items():
        taken: list[list[float]] = [[] for _ in clients]
        for n in range(ROUNDS):
            for client, own, times in zip(clients, ids, taken, strict=True):
                started = time.perf_counter()
                call(client, own, f"user{n:06}@example.com")
                times.append(time.perf_counter() - started)
        for medians, times in zip(found, taken, strict=True):
            medians[step] = round(statistics.median(times) * 1000, 2)
    return found


def memory(up: Up) -> float:
    """Resident, in MiB."""
    return round(resident(up.pid) / MIB, 1)


@contextmanager
def service(database: str) -> Iterator[tuple[Client, Up]]:
    """`authsvc up` with the first users in its database."""
    settings = {"database_url": database} if database else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), dev_login="true", **settings) as up,
    ):
        client = Client(up)
        client.load(0, FIRST)
        yield client, up


def measure(users: int, databases: Sequence[str]) -> dict[str, Any]:
    with service(databases[0]) as (small, _), service(databases[1]) as (large, up):
        latencies([small, large])  # warm
        before = memory(up)
        seconds = large.load(FIRST, users)
        after = memory(up)
        few, many = latencies([small, large])
    return {
        "users": users,
        "lines_per_s": round((users - FIRST) / seconds),
        "memory_mib": {"before": before, "after_import": after},
        "ms_with_100": few,
        "ms_with_all": many,
        "ratio": {step: round(many[step] / few[step], 2) for step in few},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--databases", nargs=2, default=("", ""), metavar="URL")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.users, arguments.databases)
    print(json.dumps(found) if arguments.json else json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
