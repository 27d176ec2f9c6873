"""JSON lines in and out at once, in bounded memory.

Most clients read nothing until all of their body is sent. Results that they don't take yet
wait in a file, so that the two directions never wait for each other.

Source: https://github.com/ndjson/ndjson-spec.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

__all__ = ["MEDIA_TYPE", "Line", "Lines", "Spool", "chunks"]

MEDIA_TYPE = "application/x-ndjson"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_IN_MEMORY_BYTES = 256 * 1024
_READ_BYTES = 64 * 1024


class Line(NamedTuple):
    """A line that is not blank: its number from 1, and its content or None if it is too long."""

    number: int
    content: bytes | None


class Lines:
    """Lines out of chunks, however they are cut.

    Args:
        max_bytes: Of one line; what a longer one has beyond is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._rest = b""
        self._too_long = False
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            yield from self._line(part)
        self._keep(rest)

    def end(self) -> Iterator[Line]:
        """The last line, where it has no end of its own."""
        if self._rest or self._too_long:
            yield from self._line(b"")

    def _keep(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._max:
            self._rest, self._too_long = b"", True
        elif not self._too_long:
            self._rest += part

    def _line(self, part: bytes) -> Iterator[Line]:
        self._keep(part)
        self._number += 1
        content: bytes | None = None
        if not self._too_long:
            content = self._rest
            if self._number == 1:
                content = content.removeprefix(_BYTE_ORDER_MARK)
            content = content.strip(b" \t\r")
        self._rest, self._too_long = b"", False
        if content != b"":
            yield Line(self._number, content)


async def chunks(receive: Receive, pause: float) -> AsyncIterator[bytes]:
    """What comes in of a body; empty whenever nothing came for a while.

    Args:
        receive: Of the request.
        pause: How long a while is, in seconds.

    Raises:
        ClientDisconnect: The client is gone before the end.
    """
    task: asyncio.Future[Message] | None = None
    try:
        while True:
            task = task or asyncio.ensure_future(receive())
            await asyncio.wait({task}, timeout=pause)
            if not task.done():
                yield b""
                continue
            message, task = task.result(), None
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return
    finally:
        if task is not None:
            task.cancel()


class Spool:
    """Bytes on their way out: written at once, read as fast as the client takes them."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - see close
        self._written = self._read = 0
        self._ended = False
        self._changed = asyncio.Event()

    def write(self, content: bytes) -> None:
        """Add to the end.

        Raises:
            OSError: The disk is full.
        """
        self._file.seek(self._written)
        self._file.write(content)
        self._written += len(content)
        self._changed.set()

    def end(self) -> None:
        """Nothing more will be written."""
        self._ended = True
        self._changed.set()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    async def parts(self) -> AsyncIterator[bytes]:
        """Everything from the beginning to the end, as it comes."""
        while True:
            self._changed.clear()
            while self._read < self._written:
                yield self._take()
            if self._ended:
                return
            await self._changed.wait()

    def _take(self) -> bytes:
        self._file.seek(self._read)
        part = self._file.read(_READ_BYTES)
        self._read += len(part)
        if self._read == self._written:
            # All of it was taken: the file need not grow.
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        return part
