"""A nats-server that asks our account server for its accounts, by the URL resolver."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError

from authsvc.claims import Creds
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.provision.conf_format import render
from tests.fixtures.authsvc import LiveService
from tests.fixtures.nats import HOST, ServerProcess, connect_options


class UrlResolved(ServerProcess):
    """It knows the operator and where to ask, and no account."""

    def __init__(self, folder: Path, service: LiveService) -> None:
        super().__init__(folder, "asks")
        self._service = service

    def config(self) -> str:
        material = self._service.running.material
        text = render(
            {
                "server_name": self.name,
                "listen": f"{HOST}:{self.port}",
                "operator": material.operator_jwt,
                "system_account": material.system,
            }
        )
        return f"{text}\nresolver: URL({self._service.url}/jwt/v1/accounts/)\n"


async def ignore(_: Exception) -> None:
    """Take the place of nats-py's callback, which logs every error with a traceback."""


async def connect(url: str, creds: Creds) -> None:
    options: dict[str, Any] = {"allow_reconnect": False, "max_reconnect_attempts": 1}
    client = NatsClient()
    try:
        await client.connect(url, error_cb=ignore, **options, **connect_options(creds))
        await client.flush()
    finally:
        # nats-py leaves the socket of a refused connection open.
        await client.close()


async def test_it_lets_users_in_and_keeps_the_revoked_out(
    service: LiveService, tmp_path: Path
) -> None:
    async def login(email: str) -> tuple[dict[str, Any], Creds]:
        key = KeyPair.generate(Prefix.USER)
        answer = (await service.login(email, key)).json()
        return answer, Creds(answer["jwt"], key)

    _, alice = await login("alice@example.com")
    revoked, bob = await login("bob@example.com")
    path = f"/v1/credentials/{revoked['id']}"
    assert (await service.call("DELETE", path, "DPoP", bob.jwt, bob.key)).status_code == 200
    server = UrlResolved(tmp_path / "asks", service)
    # It asks while it starts, and this very process answers.
    await asyncio.to_thread(server.start)
    try:
        await connect(server.url, alice)
        with pytest.raises(NatsError, match=r"(?i)authorization"):
            await connect(server.url, bob)
    finally:
        await asyncio.to_thread(server.stop)
