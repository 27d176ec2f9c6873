"""A disk that takes its time, and one that takes no writes any more, below a running service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from authsvc.nkey import KeyPair, Prefix
from benchmarks.processes import children
from tests.faults.conftest import all_kept, gets_in, ready, reasons
from tests.faults.disk import Deployed
from tests.faults.syscalls import spoiled
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.postgres import Postgres
from tests.fixtures.waiting import until


@pytest.fixture(scope="module")
async def deployed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployed]:
    found = Deployed(tmp_path_factory.mktemp("deployed"))
    try:
        await found.ready()
        yield found
    finally:
        await found.stop()


async def quick(deployed: Deployed, kept: set[str]) -> bool:
    """Whether a login takes no time again."""
    began = time.monotonic()
    answer = await deployed.login("after@example.com")
    assert answer.status_code == 201, answer.text
    kept.add(answer.json()["id"])
    return time.monotonic() - began < 0.25


async def burst(login: Callable[[str], Awaitable[httpx.Response]]) -> tuple[set[str], float]:
    """Sixty at once: the credentials that were handed out, and how many seconds it took."""
    began = time.monotonic()
    answers = await asyncio.gather(*(login(f"u{number}@example.com") for number in range(60)))
    took = time.monotonic() - began
    # Who is refused is told so.
    assert {answer.status_code for answer in answers} <= {201, 503}
    taken = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert taken
    return taken, took


async def test_a_slow_disk_makes_requests_wait_and_loses_nothing(deployed: Deployed) -> None:
    kept = {(await deployed.login("before@example.com")).json()["id"]}
    async with deployed.disk("fsync,fdatasync:delay_enter=300000"):
        taken, took = await burst(deployed.login)
        assert (await deployed.http.get("/healthz")).status_code == 200
        assert await reasons(deployed) == set()
    # All waited for one commit or two, not each for its own.
    assert 0.25 < took < 15
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
    await ready(deployed)
    kept.add((await deployed.login("later@example.com")).json()["id"])
    assert kept <= await deployed.kept()


@asynccontextmanager
async def slow(server: Postgres) -> AsyncIterator[None]:
    """Let commits take their time at PostgreSQL."""
    pid = int((server.folder / "data" / "postmaster.pid").read_text().splitlines()[0])
    async with spoiled([pid, *children(pid)], "fsync,fdatasync:delay_enter=300000") as done:
        if not done:  # its own word for it, a tenth of a second at most
            await server.sql("ALTER SYSTEM SET commit_delay = 100000")
            await server.sql("ALTER SYSTEM SET commit_siblings = 0")
            await server.sql("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            if not done:
                await server.sql("ALTER SYSTEM RESET ALL")
                await server.sql("SELECT pg_reload_conf()")


async def test_a_slow_disk_below_postgresql_makes_requests_wait_and_loses_nothing(
    postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    async with live_service(tmp_path / "data", postgres_url) as service:
        kept = {(await service.login("before@example.com")).json()["id"]}
        async with slow(postgres):
            taken, took = await burst(service.login)
            assert (await service.http.get("/healthz")).status_code == 200
            assert await reasons(service) == set()
        assert 0.1 < took < 15
        await all_kept(service, kept | taken)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_slow_disk_below_nats_server_lets_nothing_count_too_early(
    service: LiveService,
) -> None:
    key = KeyPair.generate(Prefix.USER)
    given = (await service.login("alice@example.com", key)).json()
    pid = service.supervisor.pid
    assert pid is not None
    path = f"/v1/admin/credentials/{given['id']}/revoke"
    # Where it writes the account JWT, and answers when it has.
    async with spoiled([pid], "openat,rename,renameat,renameat2:delay_enter=300000") as done:
        began = time.monotonic()
        state = (await service.admin("POST", path)).json()["propagation"]["state"]
        took = time.monotonic() - began
        assert state == "pending" or took > 0.3 or not done, took
        assert (await service.http.get("/healthz")).status_code == 200

        async def applied() -> bool:
            people = service.running.material.people_id
            return (await service.running.reconciler.propagate(people)).state == "applied"

        await until(applied, 30)
        assert not await gets_in(service, given["jwt"], key)
