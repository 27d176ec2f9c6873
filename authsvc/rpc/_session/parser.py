"""A quick way through nats-py's parser for what is nearly all there is: MSG after MSG.

They are taken where the socket brings them; nats-py's read loop, a task that has to be woken
first, gets what is left. Anything else, and a message that is not all there yet, is left to
nats-py's own parser.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol (MSG).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

__all__ = ["Listener", "MessageParser", "Receiver", "Taker"]

_log = logging.getLogger(__name__)

Receiver = Callable[[bytes, bytes, bytes | None], None]
"""Gets subject, payload and raw NATS headers; runs where the socket is read: be quick."""


class Taker(NamedTuple):
    """A receiver that needs the reply subject too: it gets subject, reply, payload, headers.

    What it is for, messages that JetStream hands out, mostly has NATS headers.
    """

    take: Callable[[bytes, bytes, bytes, bytes | None], None]


Listener = Receiver | Taker


class MessageParser(Parser):
    """Hands complete messages to plain functions.

    Args:
        client: nats-py's client.
        receivers: By subscription number; other subscriptions are nats-py's.
        takers: The same for those that need the reply subject.
    """

    def __init__(
        self, client: Any, receivers: dict[int, Receiver], takers: dict[int, Taker]
    ) -> None:
        super().__init__(client)
        self._receivers = receivers
        self._takers = takers
        self._parsing = False

    @contextmanager
    def reading(self, reader: asyncio.StreamReader) -> Iterator[None]:
        """Take what is for us before it gets into the reader, where nothing is before it there.

        Args:
            reader: What nats-py's read loop reads, meanwhile.
        """

        def feed(data: Any) -> None:
            # Bytes that came earlier are those of the read loop still: it keeps the order. And
            # where it waits for a payload, these are the payload, whatever they look like.
            waits = self.buf or self.state != AWAITING_CONTROL_LINE
            if not (reader._buffer or self._parsing or waits):  # type: ignore[attr-defined]  # noqa: SLF001
                data = bytes(data)
                place = self._messages(data, 0)
                if self._takers and place < len(data):
                    place = self._deliveries(data, place)
                if place == len(data):
                    return
                data = data[place:]
            asyncio.StreamReader.feed_data(reader, data)

        reader.feed_data = feed  # type: ignore[method-assign]
        try:
            yield
        finally:
            del reader.feed_data  # the class's own is left

    async def parse(self, data: bytes = b"") -> None:
        """Take what the read loop read."""
        self._parsing = True
        try:
            await self._parse(data)
        finally:
            self._parsing = False

    async def _parse(self, data: bytes) -> None:
        if self.state != AWAITING_CONTROL_LINE:
            missing = self.needed + 2 - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        place = self._messages(data, 0)
        if place < len(data):
            if self._takers:
                place = self._deliveries(data, place)
            await super().parse(data[place:])

    def _messages(self, data: bytes, place: int) -> int:
        """Hand over the complete messages that stand at ``place``; where they end."""
        receivers, size = self._receivers, len(data)
        while data.startswith(b"MSG ", place):
            line = data.find(b"\r\n", place)
            if line < 0:
                break
            # subject, number, reply if there is one, size; in single spaces, as nats-server does
            parts = data[place + 4 : line].split(b" ")
            try:
                receiver = receivers[int(parts[1])]
                end = line + 2 + int(parts[-1])
            except (IndexError, KeyError, ValueError):
                break
            if end + 2 > size:
                break
            try:
                receiver(parts[0], data[line + 2 : end], None)
            except Exception:  # noqa: BLE001  the read loop must live
                _log.exception("a message could not be received")
            place = end + 2
        return place

    def _deliveries(self, data: bytes, place: int) -> int:
        """Hand over the complete messages with headers at ``place``, and others between them."""
        takers, size = self._takers, len(data)
        while data.startswith(b"HMSG ", place):
            line = data.find(b"\r\n", place)
            if line < 0:
                break
            # subject, number, reply if there is one, size of the headers, size of all
            parts = data[place + 5 : line].split(b" ")
            try:
                taker = takers[int(parts[1])]
                body = line + 2 + int(parts[-2])
                end = line + 2 + int(parts[-1])
            except (IndexError, KeyError, ValueError):
                break
            if end + 2 > size:
                break
            reply = parts[2] if len(parts) == 5 else b""  # noqa: PLR2004  as listed above
            try:
                taker.take(parts[0], reply, data[body:end], data[line + 2 : body])
            except Exception:  # noqa: BLE001  the read loop must live
                _log.exception("a message could not be received")
            place = self._messages(data, end + 2)
        return place
