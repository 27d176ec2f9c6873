"""What breaks: a line that is cut or falls silent, a disk that is full, clocks that are stepped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError

from authsvc.claims import Creds
from authsvc.nkey import KeyPair
from tests.fixtures.authsvc import LiveService
from tests.fixtures.nats import connect_options
from tests.fixtures.waiting import until


class Wire:
    """A TCP proxy: what goes through it can be cut, or kept back without a word."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.port = 0

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End what goes through, and listen no more."""
        if self._server is not None:
            self._server.close()
        for end in list(self._ends):
            end.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._ends |= {writer, back}
            try:
                await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
            finally:
                self._ends -= {writer, back}
                writer.close()
                back.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.open.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
async def new_wire() -> AsyncIterator[Callable[[int], Wire]]:
    """Make one to a port."""
    made: list[Wire] = []

    def new(port: int) -> Wire:
        made.append(Wire(port))
        return made[-1]

    yield new
    for wire in made:
        wire.open.set()
        await wire.cut()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB of its own; the tests' own folder where we may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(folder)],
            check=False,
            capture_output=True,
        ).returncode
    )
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def step_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set this process's clock, the service's too, off by so many seconds."""
    right = time.time

    def step(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: right() + seconds)

    return step


class Served(Protocol):
    """A service, however it runs."""

    http: httpx.AsyncClient


async def reasons(service: Served) -> set[str]:
    """What the service says is wrong; nothing if it is ready."""
    answer = await service.http.get("/readyz")
    return set(answer.json()["reasons"]) if answer.status_code == 503 else set()


async def ready(service: Served, seconds: float = 20) -> None:
    """Wait until the service is ready, by itself."""

    async def is_ready() -> bool:
        return await reasons(service) == set()

    await until(is_ready, seconds)


async def all_kept(service: LiveService, acknowledged: set[str]) -> None:
    """See that each credential that was handed out is there."""
    admin = await service.api_key("admin")
    for credential in acknowledged:
        answer = await service.admin("GET", f"/v1/admin/credentials/{credential}", key=admin)
        assert answer.status_code == 200, answer.text


async def gets_in(service: LiveService, jwt: str, key: KeyPair) -> bool:
    """Whether nats-server lets the credential in."""
    client = NatsClient()
    try:
        await client.connect(
            service.nats_url,
            allow_reconnect=False,
            connect_timeout=5,
            **connect_options(Creds(jwt, key)),
        )
    except NatsError:
        return False
    finally:
        await client.close()
    return True
