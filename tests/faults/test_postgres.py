"""PostgreSQL goes away and comes back, says nothing any more, or another server takes its place."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import make_url

from tests.faults.conftest import Wire, all_kept, ready, reasons
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.ports import free_port
from tests.fixtures.postgres import _account, _binaries, _die_with_parent, _start, _wait
from tests.fixtures.waiting import until


@pytest.fixture
async def wired(
    postgres_url: str, new_wire: Callable[[int], Wire], tmp_path: Path
) -> AsyncIterator[tuple[LiveService, Wire]]:
    """The service, and the wire by which it reaches PostgreSQL."""
    url = make_url(postgres_url)
    wire = new_wire(int(url.port or 0))
    await wire.start()
    there = url.set(port=wire.port).render_as_string(hide_password=False)
    async with live_service(tmp_path / "data", there) as service:
        yield service, wire


async def _says_why(service: LiveService) -> None:
    async def said() -> bool:
        return "database" in await reasons(service)

    await until(said)
    refused = await service.login("nobody@example.com")
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:authsvc:problem:store-unavailable"
    assert (await service.http.get("/healthz")).status_code == 200


async def test_a_database_that_goes_away_is_said_and_used_again(
    wired: tuple[LiveService, Wire],
) -> None:
    service, wire = wired
    kept = {(await service.login("before@example.com")).json()["id"]}
    # Logins at the very moment: what is answered 201 has to be there afterwards.
    logins = [asyncio.create_task(service.login(f"u{number}@example.com")) for number in range(40)]
    await until(lambda: any(login.done() for login in logins))
    await wire.cut()
    for answer in await asyncio.gather(*logins):
        assert answer.status_code in {201, 503}, answer.text
        if answer.status_code == 201:
            kept.add(answer.json()["id"])
    await _says_why(service)
    await wire.start()
    await ready(service)
    kept.add((await service.login("after@example.com")).json()["id"])
    await all_kept(service, kept)


async def test_a_database_that_falls_silent_is_given_up_in_time(
    wired: tuple[LiveService, Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authsvc.server.group_commit.SILENT_SECONDS", 2.0)
    service, wire = wired
    kept = {(await service.login("before@example.com")).json()["id"]}
    wire.open.clear()  # what is sent is taken, and nothing comes back: a half-open connection
    logins = [asyncio.create_task(service.login(f"u{number}@example.com")) for number in range(5)]
    await _says_why(service)
    assert {answer.status_code for answer in await asyncio.gather(*logins)} == {503}
    await wire.cut()
    wire.open.set()
    await wire.start()
    await ready(service)
    kept.add((await service.login("after@example.com")).json()["id"])
    await all_kept(service, kept)


class Server:
    """One PostgreSQL server of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="authsvc-failover-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make an empty one."""
        self.process = _start(self.folder, self.port)
        _wait(self.process, self.folder, self.port)

    def follow(self, other: Server) -> None:
        """Begin as a standby of another one."""
        account, data = _account(), self.folder / "data"
        if account is not None:
            shutil.chown(self.folder, account)
        subprocess.run(
            [
                *(_binaries() / "pg_basebackup", "-h", "127.0.0.1", "-p", str(other.port)),
                *("-U", "authsvc", "-D", data, "-R", "-c", "fast", "--no-sync"),
            ],
            user=account,
            cwd=self.folder,
            check=True,
        )
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(_binaries() / "postgres", "-D", data, "-p", str(self.port)),
                    *("-k", self.folder, "-c", "listen_addresses=127.0.0.1"),
                    *("-c", "max_connections=200"),
                ],
                user=account,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - as in tests.fixtures.postgres
            )
        _wait(self.process, self.folder, self.port)

    async def sql(self, statement: str) -> object:
        """Run one statement; its first value."""
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="authsvc", database="postgres", ssl=False
        )
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            # Its children go when they miss it.
            self.process.kill()
            self.process.wait(20)
            self.process = None

    def remove(self) -> None:
        """End it, and its files."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Server, Server]]:
    """A primary, and a standby that has all it acknowledges."""
    first, second = Server(), Server()
    try:
        first.start()
        second.follow(first)
        await first.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await first.sql("SELECT pg_reload_conf()")
        followers = "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'"

        async def follows() -> bool:
            return await first.sql(followers) is True

        await until(follows)
        yield first, second
    finally:
        first.remove()
        second.remove()


async def test_a_standby_that_is_promoted_has_all_that_was_acknowledged(
    pair: tuple[Server, Server], tmp_path: Path
) -> None:
    first, second = pair
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in pair)
    url = f"postgresql+asyncpg://authsvc@/postgres?{hosts}&target_session_attrs=read-write"
    async with live_service(tmp_path / "data", url) as service:
        kept = {(await service.login("before@example.com")).json()["id"]}
        logins = [
            asyncio.create_task(service.login(f"u{number}@example.com")) for number in range(40)
        ]
        await until(lambda: any(login.done() for login in logins))
        first.kill()
        for answer in await asyncio.gather(*logins):
            assert answer.status_code in {201, 503}, answer.text
            if answer.status_code == 201:
                kept.add(answer.json()["id"])
        await _says_why(service)
        await second.sql("SELECT pg_promote()")
        await second.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
        await second.sql("SELECT pg_reload_conf()")
        await ready(service)
        kept.add((await service.login("after@example.com")).json()["id"])
        await all_kept(service, kept)
