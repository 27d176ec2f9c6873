"""Two replicas over one database, behind a proxy that they trust."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from authsvc.cli.listening import http_served, listen
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.app import create_app, open_service
from authsvc.server.running import Running
from tests.fixtures.authsvc import LiveService, StartService, access_token, empty, live_service

PROXIES = ["127.0.0.0/8"]


@dataclass
class Replicas:
    """Two replicas of one service, and whoever comes to them from somewhere."""

    service: LiveService
    runnings: list[Running]
    clients: list[httpx.AsyncClient]

    async def login(
        self,
        email: str,
        address: str,
        *,
        replica: int = 0,
        good: bool = True,
        token: str | None = None,
        body: dict[str, Any] | None = None,
    ) -> httpx.Response:
        """A login with a good or a forged token, from an address."""
        key = KeyPair.generate(Prefix.USER)
        token = token or access_token(email, **({} if good else {"secret": "f" * 48}))
        headers = {
            "Authorization": f"Bearer {token}",
            "DPoP": self.service.proof(key, "POST", "/v1/credentials", token),
            "X-Forwarded-For": f"127.0.0.1, {address}",
        }
        client = self.clients[replica]
        return await client.post("/v1/credentials", headers=headers, json=body or {})


StartReplicas = Callable[..., Awaitable[Replicas]]


@contextlib.asynccontextmanager
async def _replicas_of(service: LiveService) -> AsyncIterator[Replicas]:
    async with contextlib.AsyncExitStack() as stack:
        second = await stack.enter_async_context(open_service(service.settings))
        found = Replicas(service, [service.running, second], [])
        for running in found.runnings:
            listening = stack.enter_context(listen("127.0.0.1", 0))
            serving = http_served(create_app(running), listening, None, PROXIES)
            await stack.enter_async_context(serving)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            client = httpx.AsyncClient(base_url=url, timeout=20)
            found.clients.append(await stack.enter_async_context(client))
        yield found


@pytest.fixture
async def start_replicas(start_service: StartService) -> AsyncIterator[StartReplicas]:
    """Start both; the values are settings."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**values: Any) -> Replicas:
            service = await start_service(**values)
            return await stack.enter_async_context(_replicas_of(service))

        yield start


@pytest.fixture(scope="module")
async def _shared_replicas(
    shared_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replicas]:
    data_dir = tmp_path_factory.mktemp("replicas") / "data"
    async with (
        live_service(data_dir, shared_database_url, device_login=True) as service,
        _replicas_of(service) as found,
    ):
        yield found


@pytest.fixture
async def replicas(_shared_replicas: Replicas) -> Replicas:
    """Both with the settings' defaults: the same for the module, emptied for each test.

    What they hold in memory they keep: each test comes from an address of its own.
    """
    await empty(_shared_replicas.service)
    for client in _shared_replicas.clients:
        client.cookies.clear()
    return _shared_replicas
