"""An audit with events in it, and ways to seal and to verify it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from authsvc.server import audit
from authsvc.server.audit.anchor import begin
from authsvc.server.audit.sealing import seal
from authsvc.server.audit.verify import Report, snapshot, verify
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore

CONTEXT = audit.Context(audit.Actor("user", "usr_1"), "req_1", "192.0.2.1")


@dataclass
class Trail:
    """An audit on a real database."""

    database: Database
    keystore: Keystore = field(default_factory=lambda: Keystore(os.urandom(32)))
    written: int = 0

    async def begin(self) -> None:
        async with self.database.writing() as session:
            await begin(session, self.keystore, time.time())

    async def write(self, count: int, at: int | None = None) -> None:
        rows = []
        for _ in range(count):
            self.written += 1
            details = {"number": self.written, "text": "ä", "nested": {"b": [1.5, None], "a": True}}
            rows.append(
                audit.event(
                    CONTEXT,
                    "credential.issue",
                    "credential",
                    f"crd_{self.written}",
                    details,
                    at or int(time.time() * 1000),
                )
            )
        async with self.database.writing() as session:
            await audit.append(session, rows)

    async def seal(self, *counts: int) -> None:
        """Write and seal a batch of each size."""
        for count in counts:
            await self.write(count)
            assert await seal(self.database, self.keystore, time.time()) == count

    async def sql(self, statement: str, **values: object) -> int:
        """What somebody does who can write to the database."""
        async with self.database.writing() as session:
            done = await session.execute(text(statement), values)
        return int(getattr(done, "rowcount", 0))

    async def verify(self, expected: tuple[int, str] | None = None) -> Report:
        async with snapshot(self.database) as session:
            return await verify(session, self.keystore, expected)


@pytest.fixture
async def trail(database: Database) -> Trail:
    """An audit that has begun; the test runs once on each database."""
    made = Trail(database)
    await made.begin()
    return made
