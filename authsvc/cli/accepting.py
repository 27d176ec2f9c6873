"""Takes new connections from a listening socket, as many as wait, and gives each its protocol.

    accepting = Accepting(listening, make_protocol, ssl=None)
    accepting.start()
    accepting.close()

uvloop takes one connection each time that its loop comes round. A loop that is busy comes round a
few times in a second; then the kernel's queue fills, whoever comes next is not let in and tries
again after one, three and seven seconds (RFC 6298 section 2.1), and thousands wait who could have
been refused at once.

Source: libuv, uv__server_io (one accept for each event since 1.45); accept(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

import structlog

__all__ = ["Accepting"]

_AT_ONCE = 256
"""Connections that are taken before others have their turn: some ten milliseconds."""
_PAUSE_SECONDS = 0.1
"""Where the system has no room for one more."""
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
log = structlog.get_logger("authsvc")


class Accepting:
    """What uvicorn calls a server: it can be closed.

    Args:
        listening: Bound and listening; whoever made it closes it.
        protocol: Makes the protocol of a connection.
        ssl: For connections by TLS.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        ssl: ssl.SSLContext | None,
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._ssl = ssl
        self._loop = asyncio.get_running_loop()
        self._resuming: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._full = False

    def start(self) -> None:
        """Begin, or go on after a pause."""
        self._resuming = None
        self._listening.setblocking(False)  # noqa: FBT003 - its only argument
        self._loop.add_reader(self._listening, self._take)

    def close(self) -> None:
        """Take no more; connections that are open stay, handshakes under way are given up."""
        self._loop.remove_reader(self._listening)
        if self._resuming is not None:
            self._resuming.cancel()
        for task in self._opening:
            task.cancel()

    async def wait_closed(self) -> None:
        """Until nothing is left of handshakes."""
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._wait(error)
                return
            self._full = False
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _wait(self, error: OSError) -> None:
        """Let whoever comes wait in the kernel's queue; the socket would stay readable."""
        if not self._full:
            log.warning("no connection can be taken", error=error.strerror)
            self._full = True
        self._loop.remove_reader(self._listening)
        self._resuming = self._loop.call_later(_PAUSE_SECONDS, self.start)

    async def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003 - its only argument
        try:
            # A peer that leaves, or that can't shake hands, is nobody's fault here.
            with contextlib.suppress(OSError, TimeoutError):
                await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._ssl)
                return
            connection.close()
        except BaseException:
            connection.close()
            raise
