"""A response that is read piece by piece: what ``Peer.stream`` gives."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from authsvc.errors import PayloadTooLarge, RemoteError
from authsvc.rpc._calls.calls import Calls
from authsvc.rpc._messages.message import Headers, travelling
from authsvc.rpc._messages.middleware import Outgoing
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.heads import Head, Timeouts
from authsvc.rpc._streams.layers import Layers, through
from authsvc.rpc._streams.opening import open_stream
from authsvc.rpc._streams.requester import Opened
from authsvc.rpc._wire.flow import MAX_BODY_BYTES, MAX_CONTENT_BYTES
from authsvc.rpc._wire.frames import Pairs

__all__ = ["ResponseStream", "stream"]


class ResponseStream:
    """A response whose body comes piece by piece; ``status`` and ``headers`` are there first.

    ``async for piece in response:`` gives bytes as they come, however they were cut on the way.
    Made by ``Peer.stream``.
    """

    def __init__(self, opened: Opened | None, head: Head, timeout: float) -> None:
        self.status = head.status
        self.headers = Headers.checked(head.pairs)
        self._opened = opened
        self._timeout = timeout
        self._first: bytes | None = head.content if head.whole else None

    @property
    def status_code(self) -> int:
        """``status``, by the name that httpx gives it."""
        return self.status

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.read_some():
            yield piece

    async def read_some(self) -> bytes:
        """Some bytes, as soon as there are any; none at the end.

        Raises:
            DeadlineExceeded: Nothing came within ``timeout``.
            RemoteError: The responder broke off.
            Disconnected: The connection broke, or the responder has been silent.
        """
        if self._first is not None:
            first, self._first = self._first, b""
            return first
        return b"" if self._opened is None else await self._opened.read(self._timeout)

    async def read(self, limit: int = MAX_CONTENT_BYTES) -> bytes:
        """The rest of the body at once.

        Args:
            limit: Bytes, at most.

        Raises:
            PayloadTooLarge: There are more.
        """
        pieces, size = [], 0
        async for piece in self:
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise PayloadTooLarge(f"the response has more than {limit} bytes")
        return b"".join(pieces)

    async def lines(self, limit: int = MAX_CONTENT_BYTES) -> AsyncIterator[bytes]:
        """The body by lines, without their line feeds.

        Args:
            limit: Bytes of one line, at most.

        Raises:
            PayloadTooLarge: A line is longer.
        """
        rest = bytearray()
        async for piece in self:
            start = len(rest)
            rest += piece
            while (end := rest.find(b"\n", start)) >= 0:
                yield bytes(rest[:end])
                del rest[: end + 1]
                start = 0
            if len(rest) > limit:
                raise PayloadTooLarge(f"a line has more than {limit} bytes")
        if rest:
            yield bytes(rest)

    async def items(self) -> AsyncIterator[Any]:
        """What a generator yielded that is neither bytes nor str: each line, read as JSON.

        Raises:
            ValueError: A line is not JSON.
        """
        async for line in self.lines():
            yield orjson.loads(line)

    async def raise_for_status(self) -> None:
        """Nothing, if the status is below 400.

        Raises:
            RemoteError: The responder answered with an error.
        """
        if self.status >= 400:  # noqa: PLR2004  HTTP's error statuses
            raise RemoteError(self.status, await self.read())

    def __repr__(self) -> str:
        return f"<ResponseStream {self.status}>"


@asynccontextmanager
async def stream(
    live: Callable[[], tuple[Session, Calls]],
    subject: str,
    target: str,
    *,
    layers: Layers,
    method: str,
    body: bytes | AsyncIterable[bytes],
    pairs: Pairs,
    timeout: float,
    limit: int = MAX_BODY_BYTES,
) -> AsyncIterator[ResponseStream]:
    """See Peer.stream; ``subject`` is that of requests to the peer."""
    if not timeout > 0:
        raise ValueError("timeout is a number of seconds above 0")

    async def send(call: Outgoing) -> tuple[Opened, Head]:
        session, calls = live()
        return await open_stream(
            session,
            calls,
            subject,
            method=call.method,
            target=call.target,
            pairs=call.headers.pairs,
            body=call.content if call.body is None else aiter(call.body),
            timeouts=Timeouts(call.timeout, call.timeout, call.timeout),
            limit=limit,
            sign=layers.sign,
        )

    call = layers.outgoing(method.upper(), travelling(target), pairs, body, timeout)
    opened, head = await through(layers.middleware, call, send)
    try:
        yield ResponseStream(opened, head, timeout)
    finally:
        if opened is not None:
            await opened.close()
