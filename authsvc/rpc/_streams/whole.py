"""What httpx gets where a response came whole: most of what a bridge carries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx

__all__ = ["EXTENSIONS", "WholeBody", "WholeResponse"]

EXTENSIONS = {"http_version": b"AUTHSVC/1"}
"""What httpx is told of every response."""


class WholeResponse(httpx.Response):
    """A response whose body is here and not compressed.

    httpx reads any body through three generators, which take longer than all the rest of a
    response; this one hands it over. What its body is streamed with is httpx's own.
    """

    _whole = b""

    @classmethod
    def of(cls, status: int, headers: httpx.Headers, content: bytes) -> WholeResponse:
        """A response with this body."""
        self = cls(status, headers=headers, stream=WholeBody(content), extensions=EXTENSIONS)
        self._whole = content
        return self

    def read(self) -> bytes:
        """The body."""
        if not self.is_stream_consumed and not self.is_closed:
            self.close()
            self._take()
        return super().read()

    async def aread(self) -> bytes:
        """The body."""
        if not self.is_stream_consumed and not self.is_closed:
            await self.aclose()
            self._take()
        return await super().aread()

    def _take(self) -> None:
        # A client's knows this response, and both would wait for the garbage collector.
        self.stream = WholeBody(b"")
        self.is_stream_consumed = True
        self._content = self._whole
        self._num_bytes_downloaded = len(self._whole)


class WholeBody(httpx.AsyncByteStream, httpx.SyncByteStream):
    """A response's body that is here, without the async generator of httpx's own."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _One(self._content)


class _One:
    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content

    def __aiter__(self) -> _One:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, None
        if content is None:
            raise StopAsyncIteration
        return content
