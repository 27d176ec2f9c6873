"""Plain connections of users, for tests of who is closed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time

from nats.aio.client import Client

from authsvc.nkey import KeyPair, Prefix
from authsvc.server import metrics
from tests.fixtures.authsvc import LiveService

__all__ = ["Guests", "closed", "logged_in", "quiet"]


class Guests:
    """Plain connections that do not come back by themselves, closed at the end."""

    def __init__(self) -> None:
        self.clients: list[Client] = []

    async def connect(self, service: LiveService, jwt: str, key: KeyPair) -> Client:
        client = Client()
        self.clients.append(client)
        await client.connect(
            service.nats_url,
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
            allow_reconnect=False,
            error_cb=_ignore,
        )
        return client

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
            if client._transport is not None:
                client._transport.close()  # type: ignore[no-untyped-call]
                with contextlib.suppress(OSError):
                    await client._transport.wait_closed()  # type: ignore[no-untyped-call]


async def _ignore(_: Exception) -> None:
    """The tests look at whether it is connected."""


async def logged_in(service: LiveService, email: str) -> tuple[str, KeyPair]:
    """Log in with a new nkey."""
    key = KeyPair.generate(Prefix.USER)
    answer = await service.login(email, key)
    assert answer.status_code == 201, answer.text
    return answer.json()["jwt"], key


def closed(reason: str = "limit") -> float:
    """How many the service has closed."""
    return float(metrics.KICKED.labels(reason)._value.get())


async def quiet(clients: list[Client], seconds: float = 0.7) -> None:
    """See that nobody is closed for longer than the service takes to close somebody."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert all(client.is_connected for client in clients)
        await asyncio.sleep(0.05)
