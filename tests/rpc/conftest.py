"""People who are logged in, on the real nats-server with the contract's permissions."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from authsvc.claims import Creds, format_creds
from authsvc.errors import NotAuthenticated
from authsvc.rpc import AsyncClient, Login, Service
from tests.fixtures.nats import NatsKit, NewNats
from tests.rpc.faces import FACES, AnyClient, Face

_numbers = itertools.count()


class LocalSource:
    """Credentials signed here, as short-lived as a test needs."""

    def __init__(
        self, kit: NatsKit, name: str, *, life: int = 3600, renew_in: float | None = None
    ) -> None:
        self.kit, self.name, self.life, self.renew_in = kit, name, life, renew_in
        self.creds = kit.user_creds(name, ttl=life)
        self.obtained = 0
        self.refuse = False
        self.error: Exception | None = None

    async def obtain(self, current: Login | None) -> Login:  # noqa: ARG002
        if self.error is not None:
            raise self.error
        if self.refuse:
            raise NotAuthenticated("no more")
        self.obtained += 1
        creds = self.kit.user_creds(self.name, key=self.creds.key, ttl=self.life)
        renew_at = None if self.renew_in is None else time.monotonic() + self.renew_in
        return Login.from_jwt(creds.jwt, creds.key, self.urls(), renew_at=renew_at)

    def urls(self) -> list[str]:
        return [server.url for server in self.kit.servers]

    async def close(self) -> None:
        pass


class People:
    """Connected clients and running services, closed at the end of the test."""

    def __init__(self, kit: NatsKit) -> None:
        self.kit = kit
        self.number = next(_numbers)
        self.clients: list[AsyncClient] = []
        self.callers: list[AnyClient] = []
        self.tasks: list[asyncio.Task[None]] = []

    def name(self, who: str) -> str:
        return f"{who}{self.number}.rpc+x@example.com"

    async def client(self, who: str, **options: Any) -> AsyncClient:
        return await self.made(AsyncClient, self.kit.user_creds(self.name(who), **options))

    async def made(self, kind: type[AsyncClient], creds: Creds, **options: Any) -> AsyncClient:
        text = format_creds(creds.jwt, creds.key)
        client = kind(creds=text, servers=[self.kit.url], **options)
        await client.connect()
        self.clients.append(client)
        return client

    async def caller(
        self, who: str, face: Face, *, source: LocalSource | None = None, **options: Any
    ) -> AnyClient:
        """A connected client of either face, for tests that hold for both."""
        if source is not None:
            client = face(source=source)
        else:
            creds = self.kit.user_creds(self.name(who), **options)
            client = face(creds=format_creds(creds.jwt, creds.key), servers=[self.kit.url])
        self.callers.append(client)
        await client.connect()
        return client

    async def sourced(self, who: str, **options: Any) -> tuple[AsyncClient, LocalSource]:
        source = LocalSource(self.kit, self.name(who), **options)
        client = AsyncClient(source=source)
        await client.connect()
        self.clients.append(client)
        return client, source

    async def serve(self, service: Service, client: AsyncClient) -> asyncio.Task[None]:
        task = asyncio.create_task(service.serve(client))
        self.tasks.append(task)
        ready = asyncio.create_task(service.ready())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        ready.cancel()
        if task.done():
            task.result()
        return task

    async def close(self) -> None:
        for client in [*reversed(self.callers), *reversed(self.clients)]:
            await client.close()
        for task in self.tasks:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(task, 10)


@pytest.fixture
async def people(nats_kit: NatsKit) -> AsyncIterator[People]:
    found = People(nats_kit)
    try:
        yield found
    finally:
        await found.close()


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> Face:
    """Each face of the library in turn; see faces.py."""
    return FACES[request.param]


@pytest.fixture
async def own(new_nats: NewNats) -> AsyncIterator[People]:
    """People on a server of the test's own, which may be stopped."""
    found = People(new_nats())
    try:
        yield found
    finally:
        await found.close()


Eventually = Callable[[Callable[[], Any]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    async def wait(condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110  anything may be waited for
                await asyncio.sleep(0.01)

    return wait
