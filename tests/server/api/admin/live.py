"""A user's plain NATS connection, to see it cut."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from authsvc.nkey import KeyPair, Prefix
from tests.fixtures.authsvc import LiveService


def user_key() -> KeyPair:
    return KeyPair.generate(Prefix.USER)


class Connection:
    """An open connection that does not come back by itself."""

    def __init__(self) -> None:
        self.client = Client()
        self.closed = asyncio.Event()

    async def on_closed(self) -> None:
        self.closed.set()

    async def on_error(self, error: Exception) -> None:
        """The tests look at ``last_error``."""

    async def cut_by(self, seconds: float = 5) -> str:
        """Wait until it is cut; what nats-server said."""
        async with asyncio.timeout(seconds):
            await self.closed.wait()
        return str(self.client.last_error)


@asynccontextmanager
async def connected(service: LiveService, jwt: str, key: KeyPair) -> AsyncIterator[Connection]:
    """Connect as any NATS client would; what nats-py leaves open is closed at the end."""
    connection = Connection()
    client = connection.client
    try:
        await client.connect(
            servers=[service.nats_url],
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
            allow_reconnect=False,
            closed_cb=connection.on_closed,
            error_cb=connection.on_error,
        )
        yield connection
    finally:
        await client.close()
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]
            with contextlib.suppress(OSError):
                await client._transport.wait_closed()  # type: ignore[no-untyped-call]
