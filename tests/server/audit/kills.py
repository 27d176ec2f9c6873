"""Kill the service while it issues, and look what is left of what clients received.

    outcome = await kill(folder, database_url, issuances=600, kills=6, seed=1)

``authsvc serve`` runs as a process of its own, on one port, and is killed with SIGKILL whenever
about so many more JWTs arrived as chance says. Clients log in with new keys, renew some, note
every JWT that really reached them, and go on when the service is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from pydantic import SecretStr
from sqlalchemy import select
from sqlmodel import col

from authsvc import dpop
from authsvc.claims import decode_user
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.audit.verify import Report, snapshot, verify
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, load_master_key
from authsvc.server.models import AuditEvent, Credential, Row
from authsvc.server.settings import load
from tests.fixtures import forks
from tests.fixtures.authsvc import SECRET, access_token
from tests.fixtures.ports import free_port

__all__ = ["Killing", "Outcome", "kill"]

_CLIENTS = 16
_PEOPLE = 200
_START_SECONDS = 60
_SEAL_SECONDS = 60


class Received(NamedTuple):
    """A JWT that reached its client."""

    credential: str
    public_key: str
    action: str
    jti: str


@dataclass
class Outcome:
    """What is left."""

    received: int
    kills: int
    broken: int
    """Requests that the kills cut off."""
    without_row: int
    without_event: int
    seconds: float
    report: Report
    found: dict[str, list[str]] = field(default_factory=dict)
    """Kinds of problems by what was done to the rows afterwards."""


class Killing:
    """The service, its clients, and who kills it.

    Args:
        folder: Its data directory.
        database_url: Where its rows are.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, database_url: str, seed: int) -> None:
        self.folder, self.database_url = folder, database_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.random = random.Random(seed)  # noqa: S311 - moments, not secrets
        self.received: list[Received] = []
        self.broken = 0
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the service and wait until it answers."""
        self._process = self._spawn()
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            line = await asyncio.to_thread(self._process.stdout.readline)
        assert line.startswith(b"ready "), line

    def _spawn(self) -> subprocess.Popen[bytes]:
        env = {
            **os.environ,
            "AUTHSVC_DATA_DIR": str(self.folder),
            "AUTHSVC_DATABASE_URL": self.database_url,
            "AUTHSVC_PORT": str(self.port),
            "AUTHSVC_SYFTBOX_ACCESS_TOKEN_SECRET": SECRET,
            "AUTHSVC_LOG_FORMAT": "json",
        }
        return subprocess.Popen(
            [*forks.authsvc(), "serve"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
        )

    def stop(self, number: int) -> None:
        """Send a signal and wait for the end."""
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None

    async def issue(self, issuances: int, kills: int) -> None:
        """Issue so many JWTs, and kill the service so often meanwhile."""
        moments = sorted(self.random.sample(range(1, issuances), kills))
        await self.start()
        clients = [asyncio.create_task(self._client(issuances)) for _ in range(_CLIENTS)]
        try:
            for moment in moments:
                while len(self.received) < moment:
                    assert not any(task.done() for task in clients)
                    await asyncio.sleep(0.001)
                await asyncio.sleep(self.random.uniform(0, 0.01))
                self.stop(signal.SIGKILL)
                await self.start()
            await asyncio.gather(*clients)
        finally:
            for task in clients:
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, issuances: int) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=20) as http:
            while len(self.received) < issuances:
                try:
                    await self._one(http)
                except httpx.ConnectError:
                    await asyncio.sleep(0.1)  # it is starting
                except httpx.HTTPError:
                    self.broken += 1

    async def _one(self, http: httpx.AsyncClient) -> None:
        key = KeyPair.generate(Prefix.USER)
        token = access_token(f"person{self.random.randrange(_PEOPLE)}@example.com")
        jwt = await self._post(http, "/v1/credentials", "Bearer", token, key)
        if self.random.random() < 0.3:
            await self._post(http, "/v1/credentials/renew", "DPoP", jwt, key)

    async def _post(
        self, http: httpx.AsyncClient, path: str, scheme: str, token: str, key: KeyPair
    ) -> str:
        jti = secrets.token_hex(16)
        proof = dpop.make(key, "POST", self.url + path, token=token, now=time.time(), jti=jti)
        headers = {"Authorization": f"{scheme} {token}", "DPoP": proof}
        answer = await http.post(path, headers=headers)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        action = "credential.renew" if path.endswith("renew") else "credential.issue"
        claims = decode_user(body["jwt"])
        self.received.append(Received(body["id"], body["public_key"], action, str(claims.id)))
        return str(body["jwt"])


async def kill(
    folder: Path, database_url: str, *, issuances: int, kills: int, seed: int
) -> Outcome:
    """Issue, kill, look for every JWT, verify, and verify again with rows changed."""
    killing = Killing(folder, database_url, seed)
    started = time.monotonic()
    database = Database(database_url)
    try:
        await killing.issue(issuances, kills)
        seconds = time.monotonic() - started
        settings = load(data_dir=folder, syftbox_access_token_secret=SecretStr(SECRET))
        keystore = Keystore(load_master_key(settings))
        report = await _all_sealed(database, keystore)
        rows, events = await _missing(database, killing.received)
        outcome = Outcome(
            len(killing.received), kills, killing.broken, rows, events, seconds, report
        )
        for name, change in (("changed", _change), ("removed", _remove), ("swapped", _swap)):
            async with _changed(database, change, killing.random):
                found = await _verify(database, keystore)
            outcome.found[name] = [problem.kind for problem in found.problems]
        assert (await _verify(database, keystore)).ok
        return outcome
    finally:
        killing.stop(signal.SIGTERM)
        await database.stop()


async def _verify(database: Database, keystore: Keystore) -> Report:
    async with snapshot(database) as session:
        return await verify(session, keystore)


async def _all_sealed(database: Database, keystore: Keystore) -> Report:
    deadline = time.monotonic() + _SEAL_SECONDS
    while (report := await _verify(database, keystore)).unsealed:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    return report


async def _missing(database: Database, received: list[Received]) -> tuple[int, int]:
    """How many JWTs have no row, and how many have no event."""
    async with database.reading() as session:
        rows = await session.execute(select(col(Credential.id), col(Credential.public_key)))
        known = {tuple(row) for row in rows}
        kept = await session.execute(
            select(col(AuditEvent.target_id), col(AuditEvent.action), col(AuditEvent.details))
        )
        events = {(target, action, details.get("jti")) for target, action, details in kept}
    return (
        sum((one.credential, one.public_key) not in known for one in received),
        sum((one.credential, one.action, one.jti) not in events for one in received),
    )


def _change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**rows[0], "actor_id": rows[1]["actor_id"], "address": "10.0.0.1"}, rows[1]]


def _remove(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows[1:]


def _swap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    one, other = rows
    places = ("seq", "batch")
    return [
        {**one, **{name: other[name] for name in places}},
        {**other, **{name: one[name] for name in places}},
    ]


@contextlib.asynccontextmanager
async def _changed(database: Database, change: Any, chance: random.Random) -> Any:
    """Two events, changed as somebody would who can write to the database; then put back."""
    table = Row.metadata.tables["audit_events"]
    async with database.reading() as session:
        seqs = list(await session.scalars(select(table.c.seq)))
        two = table.c.seq.in_(chance.sample(seqs, 2))
        rows = [dict(row._mapping) for row in await session.execute(select(table).where(two))]
    for values in (change(rows), None):
        async with database.writing() as session:
            await session.execute(table.delete().where(two))
            await session.execute(table.insert(), values or rows)
        if values is not None:
            yield
