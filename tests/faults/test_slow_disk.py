"""A disk that takes its time, and one that takes no writes any more, below a running service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.disk import Deployed
from tests.fixtures.waiting import until


@pytest.fixture(scope="module")
async def deployed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployed]:
    found = Deployed(tmp_path_factory.mktemp("deployed"))
    try:
        await found.ready()
        yield found
    finally:
        await found.stop()


async def reasons(deployed: Deployed) -> set[str]:
    answer = await deployed.http.get("/readyz")
    return set(answer.json()["reasons"]) if answer.status_code == 503 else set()


async def quick(deployed: Deployed, kept: set[str]) -> bool:
    """Whether a login takes no time again."""
    began = time.monotonic()
    answer = await deployed.login("after@example.com")
    assert answer.status_code == 201, answer.text
    kept.add(answer.json()["id"])
    return time.monotonic() - began < 0.25


async def test_a_slow_disk_makes_requests_wait_and_loses_nothing(deployed: Deployed) -> None:
    kept = {(await deployed.login("before@example.com")).json()["id"]}
    async with deployed.disk("fsync,fdatasync:delay_enter=300000"):
        began = time.monotonic()
        logins = (deployed.login(f"u{number}@example.com") for number in range(60))
        answers = await asyncio.gather(*logins)
        took = time.monotonic() - began
        assert (await deployed.http.get("/healthz")).status_code == 200
        assert await reasons(deployed) == set()
    # All waited for one commit or two, not each for its own; who is refused is told so.
    assert 0.25 < took < 15
    assert {answer.status_code for answer in answers} <= {201, 503}
    taken = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert taken
    kept |= taken
    await until(lambda: quick(deployed, kept), 20)
    assert kept <= await deployed.kept()


async def test_a_file_system_that_becomes_read_only_is_said_and_used_again(
    deployed: Deployed,
) -> None:
    kept = {(await deployed.login("earlier@example.com")).json()["id"]}
    files = ("authsvc.db", "authsvc.db-wal", "authsvc.db-shm")
    async with deployed.disk("pwrite64,write,ftruncate:error=EROFS", only=files):
        for number in range(3):
            refused = await deployed.login(f"late{number}@example.com")
            assert refused.status_code == 503, refused.text
            assert refused.json()["type"] == "urn:authsvc:problem:store-unavailable"
        assert "database" in await reasons(deployed)
        assert (await deployed.http.get("/healthz")).status_code == 200
        # What only reads goes on.
        assert kept <= await deployed.kept()

    async def ready() -> bool:
        return await reasons(deployed) == set()

    await until(ready, 20)
    kept.add((await deployed.login("later@example.com")).json()["id"])
    assert kept <= await deployed.kept()
