"""A connection of the service itself to nats-server that comes back by itself, for ever.

    connection = Connection(urls, jwt, key, name="authsvc-system", on_open=subscribe)
    await connection.open()
    client = connection.client         # None while there is none

nats-py gives up for good on some refusals (an expired or revoked user). So it is never asked to
reconnect: each connection is a new one, made by the loop here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from authsvc.server.provision.tasks import end
from authsvc.subjects import inbox_prefix

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from authsvc.nkey import KeyPair

__all__ = ["Connection"]

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_CONNECT_SECONDS = 3
_PING_SECONDS = 5
_CHECK_SECONDS = 5
_CLOSE_SECONDS = 1
# A longer or other "nonce" could be a proof for the HTTP API in disguise.
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")

log = logging.getLogger(__name__)


class _Client(Client):
    """nats-py's client, which would go on in the clear where ``tls://`` is offered no TLS."""

    def _connect_command(self) -> bytes:
        server, transport = self._current_server, self._transport
        writer = getattr(transport, "_io_writer", None)
        encrypted = writer is not None and writer.get_extra_info("ssl_object") is not None
        if server is not None and server.uri.scheme == "tls" and not encrypted:
            raise NatsError(f"nats: {server.uri.hostname} offers no TLS, and tls:// asks for it")
        return bytes(super()._connect_command())


class Connection:
    """One user's connection, kept open.

    Args:
        urls: Of the servers; one of them is taken at random.
        jwt: The user JWT.
        key: The user's nkey.
        name: The user's name; replies arrive under ``_INBOX.{name}``.
        on_open: Called with each new connection, to subscribe.
        on_close: Called when one has ended.
        tls: Makes the context for each connection by TLS; the system's authorities if None.
    """

    def __init__(
        self,
        urls: Sequence[str],
        jwt: str,
        key: KeyPair,
        *,
        name: str,
        on_open: Callable[[Client], Awaitable[None]],
        on_close: Callable[[], None] = lambda: None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._urls = list(urls)
        self.jwt = jwt
        self._key = key
        self._name = name
        self._on_open = on_open
        self._on_close = on_close
        self._tls = tls
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.client: Client | None = None
        self.error: str | None = None
        """Why there is no connection, for people; None while there is one."""
        self._ended_at = time.monotonic()

    @property
    def away(self) -> float:
        """Seconds since there was a connection, or since the beginning; 0 while there is one."""
        return 0.0 if self.client is not None else time.monotonic() - self._ended_at

    async def open(self, wait: float = 2.0) -> bool:
        """Begin to connect; it goes on in the background.

        Args:
            wait: Seconds to wait for the first connection.

        Returns:
            Whether there is a connection now.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"{self._name} connection")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._ready.wait()
        return self.client is not None

    async def close(self) -> None:
        """End it."""
        if self._task is not None:
            await end([self._task])
            self._task = None

    async def renew(self, jwt: str) -> None:
        """Go on with another JWT of the same user; a connection there is, is made anew."""
        self.jwt = jwt
        if self.client is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.client.close()

    async def _keep(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            try:
                await self._once()
                pause = _SHORTEST_PAUSE
            except (OSError, NatsError, TimeoutError) as error:
                text = str(error) or type(error).__name__
                if text != self.error:
                    log.warning("%s can't reach nats-server: %s", self._name, text)
                self.error = text
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _once(self) -> None:
        """Connect, and return when that connection has ended."""
        closed = asyncio.Event()

        async def on_closed() -> None:
            closed.set()

        client = _Client()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS * 2):
                await client.connect(self._urls, closed_cb=on_closed, **self._options())
                await self._on_open(client)
            self.client, self.error = client, None
            self._ready.set()
            while not client.is_closed:
                # nats-py may fail while it closes, and then calls nobody back.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        await closed.wait()
            last = client.last_error
            self.error = str(last) if last else "the connection was closed"
            log.warning("%s lost its connection: %s", self._name, self.error)
        finally:
            if self.client is not None:
                self._ended_at = time.monotonic()
            self.client = None
            self._ready.clear()
            self._on_close()
            # After a failed TLS handshake it would wait for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await client.close()

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "name": self._name,
            "allow_reconnect": False,
            # Of the first connection too: else an unreachable server is tried for two minutes.
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "connect_timeout": _CONNECT_SECONDS,
            "ping_interval": _PING_SECONDS,
            "error_cb": _note,
            "user_jwt_cb": self.jwt.encode,
            "signature_cb": self._sign,
            "inbox_prefix": inbox_prefix(self._name).encode(),
        }
        if self._tls is not None:
            options["tls"] = self._tls()
        return options

    def _sign(self, nonce: str) -> bytes:
        # It must not raise, or the client hangs: without a signature the server refuses us.
        return base64.b64encode(self._key.sign(nonce.encode())) if _NONCE.match(nonce) else b""


async def _note(error: Exception) -> None:
    log.debug("nats-py: %s", error)
