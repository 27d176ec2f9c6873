"""The socket that the API listens on, and uvicorn behind it while a block lasts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from authsvc.cli.accepting import Accepting
from authsvc.errors import PortTaken, StartRefused
from authsvc.server.api.protocol import Protocol
from authsvc.server.provision.ports import holder
from authsvc.server.tls import Certificate

__all__ = ["http_served", "listen"]

_KEEP_ALIVE_SECONDS = 75
_GC_THRESHOLD = 20_000
"""Objects between collections; Python's 700 looks at young objects many times a request."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: we stop it, then what it stands on.

    And without its loop's way of taking connections, which is one at a time.
    """

    def __init__(self, config: uvicorn.Config, listening: socket.socket) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        """Begin to take connections."""
        await super().startup(sockets=[])
        accepting = Accepting(self._listening, self._protocol, self.config.ssl)
        accepting.start()
        self.servers.append(accepting)  # type: ignore[arg-type]

    def _protocol(self) -> asyncio.Protocol:
        return Protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is known before anything else is done.

    Raises:
        PortTaken: Another process listens there.
        StartRefused: The address is none of this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer of two
    # writes takes 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        who = holder(port) if port else None
        if who or error.errno == 98:  # noqa: PLR2004 - EADDRINUSE
            raise PortTaken(
                f"port {port} on {host} is taken by {who or 'another process'}; stop it or "
                "choose another one with --port (0 for any free one)"
            ) from error
        raise StartRefused(f"can't listen on {host}:{port}: {error.strerror}") from error
    found.set_inheritable(False)
    return found


@asynccontextmanager
async def http_served(
    app: FastAPI,
    listening: socket.socket,
    certificate: Certificate | None = None,
    proxies: Sequence[str] = (),
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve the app until the block is left, by TLS where there is a certificate."""
    config = uvicorn.Config(
        app,
        loop="none",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # The address in the audit is the one that really connected, not one that a header claims,
        # unless one of our own proxies says it.
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
        ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config, listening)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="authsvc-http")
    watching = None
    if certificate is not None:
        watching = asyncio.create_task(certificate.watch())
        if not sys.stdin.isatty():  # a terminal that is closed means the end
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, certificate.refresh)
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.005)
        # What start-up made stays for good: full collections need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD)
        yield task
    finally:
        if watching is not None:
            watching.cancel()
        server.should_exit = True
        await task
