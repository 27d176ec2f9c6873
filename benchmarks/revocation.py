"""From the revocation sent over HTTP to the user's connection closed, on one node and on three.

    python -m benchmarks.revocation [--users 100] [--nodes 1,3] [--at-once 1] [--revocations 0]

All is real: nats-servers, PostgreSQL and a replica of the API are processes of their own. As many
users as are revoked stay connected beside them, and must not notice.

``--revocations 10000`` puts entries into the account first, each of a JWT that lives still, so that
every push carries them: as many as there may be before the service replaces them all by one for
everybody (8,000). Then a JWT with all 10,000 is pushed as the service pushes, to see the way to the
servers alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from authsvc.claims import decode_account, encode
from authsvc.server.provision.account_jwts import operator_signing_key
from authsvc.server.sessions.supersede import MOST_ENTRIES
from authsvc.server.settings import load
from authsvc.server.store import open_store
from benchmarks.rows import add_revocations, crowd_key
from tests.cluster import started
from tests.fixtures.cluster import ReplicatedService

_PUSHES = 5


class Target:
    """A user who is connected until the revocation."""

    def __init__(self, service: ReplicatedService, place: int) -> None:
        self.service = service
        self.node = service.nodes[place % len(service.nodes)]
        self.name = f"user{place}@example.com"
        self.ended = asyncio.Event()
        self.ended_at = 0.0

    async def open(self) -> None:
        """Log in and connect, each to the next node."""
        self.credential, self.creds = await self.service.login(self.name)

        async def closed() -> None:
            self.ended_at = time.perf_counter()
            self.ended.set()

        self.client = await self.service.connect(self.creds, self.node, closed_cb=closed)

    async def revoke(self) -> tuple[float, float, str]:
        """Seconds until the connection was closed and until the answer, and its state."""
        began = time.perf_counter()
        found = await self.service.revoke(self.credential, self.creds)
        answered = time.perf_counter() - began
        async with asyncio.timeout(10):
            await self.ended.wait()
        return self.ended_at - began, answered, found["state"]


async def _filled(service: ReplicatedService, revocations: int) -> int:
    """Put so many into the people's account, have them pushed; the bytes of its JWT."""
    await add_revocations(service.database_url, revocations)
    pushed = await service.admin("POST", "/v1/admin/nats/push")
    pushed.raise_for_status()
    deadline = time.monotonic() + 60
    while True:
        status = (await service.admin("GET", "/v1/admin/nats/status")).json()
        people = next(it for it in status["accounts"] if it["kind"] == "people")
        held = all(all(it["applied"].values()) for it in status["servers"])
        if held and people["revision"] == people["published_revision"]:
            return int(people["jwt_bytes"])
        assert time.monotonic() < deadline, status
        await asyncio.sleep(0.1)


async def _pushes(service: ReplicatedService, revocations: int) -> dict[str, Any]:
    """Milliseconds until every server has taken a JWT with so many, without the service's part."""
    settings = load(
        database_url=service.database_url, master_key=SecretStr(service.master_key), port=0
    )
    async with open_store(settings) as store, service.observed() as observer:
        public = store.material.people
        async with store.database.reading() as session:
            signer = await operator_signing_key(session, store.keystore)
        claims = decode_account((await store.account_jwts())[public])
        now = int(time.time())
        entries = {crowd_key(): now for _ in range(revocations)}
        taken, jwt = [], ""
        for place in range(_PUSHES):
            moment = claims.issued_at + 1000 + place
            jwt = encode(replace(claims, revocations=entries, issued_at=moment), signer)
            began = time.perf_counter()
            answers = await observer.resolver.push(jwt)
            taken.append(time.perf_counter() - began)
            assert len(answers) == len(service.nodes)
    return {"pushed_bytes": len(jwt), "pushed_p50_ms": _at(sorted(taken), 0.5)}


async def measure(nodes: int, users: int, at_once: int, revocations: int = 0) -> dict[str, Any]:
    """Revoke them all, ``at_once`` of them side by side."""
    async with started(nodes, replicas=1) as service:
        carried = min(revocations, MOST_ENTRIES - 2 * users)
        size = await _filled(service, carried)
        targets = [Target(service, place) for place in range(2 * users)]
        for target in targets:
            await target.open()
        gone, staying = targets[:users], targets[users:]
        gate = asyncio.Semaphore(at_once)

        async def one(target: Target) -> tuple[float, float, str]:
            async with gate:
                return await target.revoke()

        found = await asyncio.gather(*map(one, gone))
        pushes = await _pushes(service, revocations) if revocations else {}
        undisturbed = sum(target.client.is_connected for target in staying)
    closed = sorted(item[0] for item in found)
    answered = sorted(item[1] for item in found)
    return {
        "nodes": nodes,
        "users": users,
        "at_once": at_once,
        "carried": carried,
        "jwt_bytes": size,
        **pushes,
        "closed_p50_ms": _at(closed, 0.5),
        "closed_p99_ms": _at(closed, 0.99),
        "closed_max_ms": _at(closed, 1),
        "answered_p50_ms": _at(answered, 0.5),
        "answered_p99_ms": _at(answered, 0.99),
        "applied": sum(item[2] == "applied" for item in found),
        "undisturbed": f"{undisturbed} of {len(staying)}",
    }


def _at(sorted_seconds: list[float], part: float) -> float:
    place = min(len(sorted_seconds) - 1, int(len(sorted_seconds) * part))
    return round(sorted_seconds[place] * 1000, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--nodes", default="1,3")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--revocations", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for nodes in map(int, options.nodes.split(",")):
        found = asyncio.run(measure(nodes, options.users, options.at_once, options.revocations))
        if options.json:
            print(json.dumps(found))
        else:
            print("  ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
