"""A request whose body may come in chunks, as its handler sees it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from authsvc.errors import PayloadTooLarge
from authsvc.rpc._messages.message import Request
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._wire.chunks import OpenFrame
from authsvc.rpc._wire.flow import MAX_CONTENT_BYTES

__all__ = ["StreamedRequest"]


class StreamedRequest(Request):
    """A request whose body may come in chunks, and whose response may go out in chunks."""

    __slots__ = ("exchange",)
    streamed = True

    def __init__(self, requester: str, app: str, frame: OpenFrame, exchange: Exchange) -> None:
        super().__init__(requester, app, frame.request, time.monotonic())
        self.exchange = exchange

    async def fill(self, limit: int) -> bool:
        """Let ``content`` be the whole body; False if it is larger than ``limit``.

        Raises:
            Disconnected: The requester gave up or was silent for too long.
        """
        if not self.exchange.complete:
            content = await self._rest(limit)
            if content is None:
                return False
            self.content = content
        return True

    async def _rest(self, limit: int) -> bytes | None:
        """What has not been read of the request's body; None if that is more than ``limit``."""
        pieces, size = [], 0
        try:
            while piece := await self.exchange.read():
                pieces.append(piece)
                size += len(piece)
                if size > limit:
                    return None
        except PayloadTooLarge:
            return None
        return b"".join(pieces)

    async def read(self) -> bytes:
        """The whole body; see Request.read."""
        if not await self.fill(MAX_CONTENT_BYTES):
            raise PayloadTooLarge(f"the body has more than {MAX_CONTENT_BYTES} bytes")
        return self.content

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come.

        Raises:
            Disconnected: The requester went away before the body had come.
            PayloadTooLarge: The body is larger than the service takes.
        """
        while piece := await self.exchange.read():
            yield piece
