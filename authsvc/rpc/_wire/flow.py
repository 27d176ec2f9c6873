"""The two ends of a body in chunks: order, credit, bounds. No I/O of their own.

Whoever reads says how many bytes may come in all; whoever writes waits where that is used up. So
neither side holds more of a body than one window. A renewed connection may bring a chunk twice,
or the next one first: offsets tell.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from authsvc.errors import InvalidMessage, PayloadTooLarge, RpcError
from authsvc.rpc._wire.frames import Pairs

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_CONTENT_BYTES",
    "PIECE_BYTES",
    "WHOLE_BYTES",
    "Inflow",
    "Link",
    "Outflow",
    "Pulse",
    "head_bytes",
    "piece_bytes",
    "window_bytes",
]

WHOLE_BYTES = 512 * 1024
"""A body of up to this size, known when it begins, is not cut into chunks."""

PIECE_BYTES = 128 * 1024
"""The body of one chunk, at most."""

MAX_BODY_BYTES = 1 << 30
"""A body in chunks, at most, unless somebody says otherwise."""

MAX_CONTENT_BYTES = 64 << 20
"""What is held at once of a body in chunks, where somebody asks for all of it."""

_MOST_BYTES, _LEAST_BYTES, _ALL_BYTES = 1 << 20, 64 * 1024, 16 << 20
_MAX_HELD = 1024
_LINE_BYTES = 256


class Limited(Protocol):
    """A connection that carries messages up to some size."""

    limit: int


def piece_bytes(connection: Limited | None) -> int:
    """The body of one chunk, at most, on this connection."""
    if connection is None:
        return PIECE_BYTES
    return max(1, min(PIECE_BYTES, connection.limit - _LINE_BYTES))


def head_bytes(method: str, target: str, pairs: Pairs) -> int:
    """How many bytes a message has without its body, at most."""
    size = sum(len(name) + len(value) + 4 for name, value in pairs)
    return _LINE_BYTES + len(method) + len(target) + size


def window_bytes(streams: int) -> int:
    """The window of each, where so many bodies are under way.

    nats-server cuts a connection off for which 64 MiB wait; all windows together stay below.
    """
    return max(_LEAST_BYTES, min(_MOST_BYTES, _ALL_BYTES // max(1, streams)))


class _Waiting:
    """One task waits at a time; ``waits_since`` is when it began, if one does."""

    def __init__(self) -> None:
        self.waits_since: float | None = None
        self._wake: asyncio.Future[None] | None = None

    async def _wait(self) -> None:
        self._wake = asyncio.get_running_loop().create_future()
        self.waits_since = time.monotonic()
        try:
            await self._wake
        finally:
            self._wake = self.waits_since = None

    def _awake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


class Inflow(_Waiting):
    """A body that comes in; ``waits_since`` is when its reader began to wait, if it does.

    Args:
        grant: Told the number of bytes that may have been sent in all, whenever it rises.
        window: How many bytes may be under way now.
        granted: What the sender was allowed to begin with.
        limit: Bytes in all, at most.
    """

    def __init__(
        self, grant: Callable[[int], None], window: Callable[[], int], *, granted: int, limit: int
    ) -> None:
        super().__init__()
        self.granted = granted
        self.complete = False
        self.next = 0
        self._grant = grant
        self._window = window
        self._limit = limit
        self._consumed = 0
        self._ready = bytearray()
        self._held: dict[int, tuple[bytes, bool]] = {}
        self._error: BaseException | None = None

    @property
    def drained(self) -> bool:
        """Whether all of it was read."""
        return self.complete and not self._ready

    @property
    def holds(self) -> bool:
        """Whether later chunks are here and an earlier one is not."""
        return bool(self._held)

    def take(self, offset: int, content: bytes, *, last: bool) -> None:
        """Take a chunk, in any order, as often as it comes.

        Raises:
            InvalidMessage: More came than was allowed.
            PayloadTooLarge: The body is larger than ``limit``.
        """
        if offset < self.next or self.complete or (offset in self._held):
            return
        end = offset + len(content)
        if end > self._limit:
            raise PayloadTooLarge(f"the body has more than {self._limit} bytes")
        if end > self.granted or len(self._held) >= _MAX_HELD:
            raise InvalidMessage("more of the body came than was allowed")
        self._held[offset] = (content, last)
        while (found := self._held.pop(self.next, None)) is not None:
            self._ready += found[0]
            self.next += len(found[0])
            if found[1]:
                self.complete = True
                self._held.clear()
        if self._ready or self.complete:
            self._awake()

    def fail(self, error: BaseException) -> None:
        """Let ``read`` raise this, when it has handed over what came before."""
        if self._error is None and not self.complete:
            self._error = error
            self._awake()

    async def read(self) -> bytes:
        """Some bytes, as soon as there are any; none at the end.

        Raises:
            RpcError: What ``fail`` was told.
        """
        while not self._ready:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            self._extend()
            await self._wait()
        data = bytes(self._ready)
        self._ready.clear()
        self._consumed += len(data)
        self._extend()
        return data

    def _extend(self) -> None:
        window = self._window()
        if self.complete or self.granted - self._consumed > window // 2:
            return
        self.granted = self._consumed + window
        self._grant(self.granted)


class Outflow(_Waiting):
    """A body that goes out; ``waits_since`` is when its writer began to wait, if it does.

    Args:
        send: Sends a chunk: offset, content, whether it is the last.
        allowed: How many bytes may be sent to begin with.
        offset: How many were sent already.
        piece: Bytes of one chunk, at most.
    """

    def __init__(
        self,
        send: Callable[[int, bytes, bool], Awaitable[None]],
        *,
        allowed: int,
        offset: int,
        piece: int = PIECE_BYTES,
    ) -> None:
        super().__init__()
        self.offset = offset
        self.complete = False
        self._piece = piece
        self._send = send
        self._allowed = allowed
        self._error: RpcError | None = None

    def credit(self, total: int) -> None:
        """So many bytes may have been sent in all."""
        if total > self._allowed:
            self._allowed = total
            self._awake()

    def fail(self, error: RpcError) -> None:
        """Let ``write`` raise this."""
        if self._error is None:
            self._error = error
            self._awake()

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes; returns when all were allowed and are on their way.

        Raises:
            RpcError: What ``fail`` was told, or there is no connection.
        """
        start, size = 0, len(data)
        while start < size or (last and not self.complete):
            if self._error is not None:
                raise self._error
            room = min(self._piece, self._allowed - self.offset, size - start)
            if room <= 0 and start < size:
                await self._wait()
                continue
            piece = data[start : start + room] if room < size else data
            start += room
            offset, self.offset = self.offset, self.offset + room
            self.complete = last and start == size
            await self._send(offset, piece, self.complete)


class Link(Protocol):
    """One side of an exchange whose bodies are under way."""

    def beat(self, now: float) -> None:
        """Time went by: say that one is there, or give up who says nothing."""


class Pulse:
    """Calls ``beat`` of every link now and then, as long as there are any."""

    SECONDS = 5.0

    def __init__(self) -> None:
        self._links: set[Link] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._links)

    def add(self, link: Link) -> None:
        """Let it beat."""
        self._links.add(link)
        if self._timer is None:
            self._schedule()

    def discard(self, link: Link) -> None:
        """Let it beat no more."""
        self._links.discard(link)
        if not self._links and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.SECONDS, self._beat)

    def _beat(self) -> None:
        self._timer = None
        now = time.monotonic()
        for link in list(self._links):
            link.beat(now)
        if self._links:
            self._schedule()
