"""The signing key is rotated under live connections that renew and reconnect all the time.

    python -m benchmarks.rotation [--people 200] [--ttl 20] [--json]

One process runs the service, a nats-server and all clients. Nothing may fail: no connection, no
reconnect, no renewal. When the former key has retired by itself, what it signed is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

from authsvc.claims import Creds, decode_account
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import run
from authsvc.server import audit, logs
from authsvc.server.models import Account
from tests.fixtures.authsvc import LiveService, live_service
from tests.security.raw import RawClient

GRACE = 5
CONTEXT = audit.Context(audit.Actor("service", "benchmark"), "", "")


class Person:
    """Logs in once, then stays connected, renews and reconnects."""

    def __init__(self, service: LiveService, number: int) -> None:
        self.service = service
        self.name = f"user{number}@example.com"
        self.key = KeyPair.generate(Prefix.USER)
        self.jwt = ""
        self.reconnects = 0
        self.failures: list[str] = []

    async def connect(self) -> RawClient:
        host, port = self.service.nats_url.removeprefix("nats://").split(":")
        return await RawClient.connect(host, int(port), Creds(self.jwt, self.key))

    async def stay(self, stop: asyncio.Event) -> None:
        self.jwt = (await self.service.login(self.name, self.key)).json()["jwt"]
        while not stop.is_set():
            client = await self.connect()
            self.failures += await client.refused()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 + secrets.randbelow(200) / 100):
                    await stop.wait()
            self.failures += await client.refused()
            await client.close()
            self.reconnects += 1
            answer = await self.service.renew(self.jwt, self.key)
            if answer.status_code == 201:
                self.jwt = answer.json()["jwt"]
            else:
                self.failures.append(f"renewal: {answer.status_code}")


async def listed(service: LiveService) -> set[str]:
    async with service.running.database.reading() as session:
        account = await session.get_one(Account, service.running.material.people_id)
    return set(decode_account(account.jwt).signing_keys)


async def measure(people: int, ttl: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite+aiosqlite:///{Path(folder) / 'authsvc.db'}"
        async with live_service(
            Path(folder), url, credential_ttl=ttl, renew_grace=GRACE
        ) as service:
            stop = asyncio.Event()
            everybody = [Person(service, number) for number in range(people)]
            tasks = [asyncio.create_task(person.stay(stop)) for person in everybody]
            lost = Person(service, people)
            lost.jwt = (await service.login(lost.name, lost.key)).json()["jwt"]
            (former,) = await listed(service)
            await asyncio.sleep(3)
            started = time.perf_counter()
            done = await service.running.rotation.rotate("people", CONTEXT)
            rotated = time.perf_counter() - started
            assert done.propagation.state == "applied"
            while former in await listed(service):  # noqa: ASYNC110 - it retires by itself
                await asyncio.sleep(0.2)
            retired = time.perf_counter() - started
            await asyncio.sleep(5)
            stop.set()
            await asyncio.gather(*tasks)
            refused = await lost.connect()
            renewal = await service.renew(lost.jwt, lost.key)
            await refused.close()
    return {
        "people": people,
        "reconnects": sum(person.reconnects for person in everybody),
        "failures": sum(len(person.failures) for person in everybody),
        "rotated_ms": round(rotated * 1000, 1),
        "retired_after_s": round(retired, 1),
        "retired_key_refused": "closed" in refused.errors and renewal.status_code == 401,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--ttl", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logs.configure("json", file=Path(os.devnull))
    found = run(measure(options.people, options.ttl))
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
