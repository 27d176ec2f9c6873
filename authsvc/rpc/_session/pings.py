"""nats-py's client, with PINGs that may be given up.

In nats-py 2.16 a PONG that nobody waits for any more ends the read loop, and one that never
comes, because the connection broke, is waited for until its time is over.
"""

from __future__ import annotations

import asyncio

import nats.errors
from nats.aio.client import Client

from authsvc.errors import Disconnected

__all__ = ["PingingClient"]

_BARRIER_SECONDS = 20
_FLOW_SECONDS, _FINISH_SECONDS = 30, 5


class PingingClient(Client):
    """A nats-py client that can wait until the server has processed what was sent.

    ``congested`` says whether more waits for the socket than should: then await ``flow``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.congested = False
        # Whether the server let a whole `finish` pass, and has said nothing since.
        self._silent = False

    async def barrier(self, timeout: float = _BARRIER_SECONDS) -> None:
        """Return when the server has processed all that was sent so far.

        Raises:
            Disconnected: The connection broke meanwhile, or the server was silent for so many
                seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                # nats-py writes its PING past commands that still wait, so those go first.
                self._write()
                await self.flush(_BARRIER_SECONDS)
                await self.flush(_BARRIER_SECONDS)
        except (OSError, nats.errors.Error, TimeoutError) as error:
            raise Disconnected("the connection broke") from error
        if not self.is_connected:
            raise Disconnected("the connection broke")

    async def finish(self) -> None:
        """``barrier`` for what ends: a server that was silent once is waited for no more.

        Raises:
            Disconnected: The connection broke meanwhile, or the server is silent.
        """
        if self._silent:
            raise Disconnected("nats-server is silent")
        try:
            # What a slow network still has to take is no silence.
            async with asyncio.timeout(_FLOW_SECONDS):
                await self.flow()
            await self.barrier(_FINISH_SECONDS)
        except TimeoutError as error:
            raise Disconnected("nats-server takes nothing") from error
        except Disconnected:
            self._silent = True
            raise

    async def flow(self) -> None:
        """Wait until the socket has taken what waits.

        Raises:
            Disconnected: The connection broke meanwhile.
        """
        self._write()
        self.congested = False
        if self._transport is not None:
            try:
                await self._transport.drain()  # type: ignore[no-untyped-call]
            except OSError as error:
                raise Disconnected("the connection broke") from error

    def _write(self) -> None:
        """Hand commands that still wait to the socket."""

    async def _process_pong(self) -> None:
        self._silent = False
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
        else:
            await super()._process_pong()

    def _fail_pings(self) -> None:
        """The connection broke: no PONG comes any more."""
        for future in self._pongs:
            if not future.done():
                future.set_exception(nats.errors.ConnectionClosedError())
                future.exception()  # seen: nobody waits for those of nats-py's own interval
