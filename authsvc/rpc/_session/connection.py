"""One nats-py connection with two short cuts, because its own road costs half of a call.

* A message goes from the read loop straight to a plain function: no Msg, queue and task.
* ``send`` is a plain function; what one turn of the event loop sends is written at once.

Both lean on names of nats-py 2.16 that begin with an underscore, as ``_pings`` and ``_parser``
do and nothing else in this package. pyproject.toml pins that line.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import nats.errors
from nats.aio.client import Client

from authsvc.errors import Disconnected, NotAuthenticated
from authsvc.nkey import KeyPair
from authsvc.rpc._session.keys import signature
from authsvc.rpc._session.parser import Listener, MessageParser, Receiver, Taker
from authsvc.rpc._session.pauses import Pauses
from authsvc.rpc._session.pings import PingingClient

__all__ = ["Connection", "Events"]

_log = logging.getLogger(__name__)
_REFUSED = re.compile(
    r"permissions violation for (publish|subscription)(?: with reply of)? to \"([^\"]*)\""
)
_AUTHENTICATION = ("authorization violation", "authentication expired", "authentication revoked")
_HIGH_WATER_BYTES = 1 << 20
# Messages written together: more cost the other side time in which it could work already.
_CHUNK = 32
_CONNECTED = Client.CONNECTED


class Events(Protocol):
    """Who is told what happens to a connection."""

    def jwt(self) -> str:
        """The user JWT to connect with now."""

    def lost(self, connection: Connection) -> None:
        """The connection broke; nats-py tries to bring it back."""

    def back(self, connection: Connection) -> None:
        """It is back, subscriptions included."""

    def ended(self, connection: Connection, reason: str, *, refused: bool) -> None:
        """It closed for good; ``refused`` says whether that was because of its credential."""

    def refused(self, action: str, subject: str) -> None:
        """nats-server refused an action (``publish``, ``subscription``); subject in lower case."""


def _take(taker: Taker, reply: bytes, subject: bytes, data: bytes, headers: bytes | None) -> None:
    taker.take(subject, reply, data, headers)


def _is_authentication(reason: str) -> bool:
    return any(text in reason for text in _AUTHENTICATION)


class Connection(PingingClient):
    """A connection of one user.

    ``limit`` is the largest payload that may be sent.

    Args:
        key: The user's nkey.
        events: Who is told what happens.
        max_payload: Bytes that this user may send in one message; -1 for no limit of its own.
    """

    def __init__(self, key: KeyPair, events: Events, max_payload: int = -1) -> None:
        super().__init__()
        self.limit = 0
        self._own_limit = max_payload
        self._key = key
        self._events = events
        self._receivers: dict[int, Receiver] = {}
        self._takers: dict[int, Taker] = {}
        self._ps = self._parser = MessageParser(self, self._receivers, self._takers)
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._batch = self._last_batch = 0
        self._done = False
        self._pauses = Pauses()

    async def open(self, servers: Sequence[str], *, name: str, timeout: float) -> None:
        """Connect to the first server that takes us.

        Args:
            servers: URLs, all ``nats`` and ``tls``, or all ``ws`` and ``wss``.
            name: Shown in the server's monitoring.
            timeout: Seconds in all.

        Raises:
            NotAuthenticated: The server refuses the credential.
            Disconnected: No server can be reached.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.connect(
                    servers=list(servers),
                    name=name,
                    user_jwt_cb=lambda: self._events.jwt().encode("ascii"),
                    signature_cb=lambda nonce: signature(self._key, nonce),
                    error_cb=self._on_error,
                    disconnected_cb=self._on_lost,
                    reconnected_cb=self._on_back,
                    closed_cb=self._on_closed,
                    # One round over the servers now; for ever once we were let in.
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    ping_interval=20,
                    # A server that does not know the account asks the others for it first.
                    connect_timeout=5,
                )
                # nats-py takes a socket that was closed at once for a connection.
                await self.barrier()
        except asyncio.CancelledError:
            await self.shut()
            raise
        except Exception as error:
            # Of any kind: what a server sends first is not checked by nats-py.
            await self.shut()
            text = self._reason() if isinstance(error, Disconnected) else str(error).lower()
            if _is_authentication(text):
                raise NotAuthenticated(f"nats-server refused the credential: {text}") from error
            what = text or type(error).__name__
            raise Disconnected(f"no NATS server of {', '.join(servers)}: {what}") from error
        self._set_limit()
        self._pauses.made(time.monotonic())
        self.options.update(
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=random.uniform(0.2, 0.5),  # noqa: S311  spreads load only
        )

    async def shut(self) -> None:
        """Close without telling anybody."""
        self._done = True
        try:
            await self.close()
        except asyncio.CancelledError:
            # nats-py waits for much before it closes the socket.
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise

    async def listen(self, subject: str, queue: str, listener: Listener) -> int:
        """Subscribe; ``barrier`` tells when the server knows. The answer is the number of it.

        Raises:
            Disconnected: The connection is closed.
        """
        sid = self._sid + 1
        if isinstance(listener, Taker):
            self._takers[sid] = listener
        else:
            self._receivers[sid] = listener
        try:
            subscription = await self.subscribe(subject, queue)
        except nats.errors.ConnectionClosedError as error:
            raise Disconnected("the connection was closed") from error
        if subscription._id != sid:  # noqa: SLF001
            raise RuntimeError("nats-py counts subscriptions in another way; 2.16 is needed")
        return sid

    async def forget(self, sid: int) -> None:
        """Unsubscribe; what still arrives until the next ``barrier`` is received."""
        subscription = self._subs.get(sid)
        if subscription is None or not self.is_connected:
            self._subs.pop(sid, None)
            return
        await self._send_unsubscribe(sid)

    def drop(self, sid: int) -> None:
        """Receive nothing of it any more, nor subscribe again when the connection comes back."""
        for known in (self._subs, self._receivers, self._takers):
            known.pop(sid, None)

    def send(self, subject: str, reply: str, payload: bytes) -> None:
        """Publish, soon; call ``flow`` now and then where much is sent.

        Raises:
            Disconnected: There is no connection now.
        """
        if self._status != _CONNECTED:
            raise Disconnected("there is no connection to nats-server now")
        size = len(payload)
        command = f"PUB {subject} {reply} {size}\r\n".encode("ascii")
        self._pending += (command, payload, b"\r\n")
        self._pending_data_size += len(command) + size + 2
        self._batch += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
            # Alone in its turn so far, as the last one was: waiting would only cost time.
            if self._last_batch <= 1:
                self._write()
        elif not self._batch % _CHUNK:
            self._write()

    def send_once(self, subject: str, reply: str, message_id: str, payload: bytes) -> None:
        """Publish what JetStream shall keep once, however often it is sent.

        Args:
            subject: Of a stream.
            reply: Where the receipt belongs.
            message_id: By which nats-server knows it again.
            payload: The message.

        Raises:
            Disconnected: There is no connection now.
        """
        if self._status != _CONNECTED:
            raise Disconnected("there is no connection to nats-server now")
        block = f"NATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n"
        sizes = f"{len(block)} {len(block) + len(payload)}"
        head = f"HPUB {subject} {reply} {sizes}\r\n{block}".encode("ascii")
        self._pending += (head, payload, b"\r\n")
        self._pending_data_size += len(head) + len(payload) + 2
        self._batch += 1
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    @property
    def is_live(self) -> bool:
        """Whether ``send`` works now."""
        return bool(self._status == _CONNECTED)

    def _set_limit(self) -> None:
        self.limit = min(self._max_payload, self._own_limit)
        if self._own_limit <= 0:
            self.limit = self._max_payload

    def _turn(self) -> None:
        self._scheduled = False
        self._last_batch, self._batch = self._batch, 0
        self._write()

    def _write(self) -> None:
        if not self._pending or not self.is_connected or self._transport is None:
            return
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None:
            # A WebSocket sends only in its drain: nats-py's flusher does that.
            if self._flush_queue is not None and self._flush_queue.empty():
                self._flush_queue.put_nowait(self._loop.create_future())
            return
        # One buffer: uvloop takes 6 us for each of many, joining them nothing to speak of.
        self._transport.write(b"".join(self._pending))
        self._pending = []
        self._pending_data_size = 0
        self.congested = writer.transport.get_write_buffer_size() > _HIGH_WATER_BYTES

    async def _read_loop(self) -> None:
        # Begins with each connection, after TLS; a WebSocket has no such reader.
        reader = getattr(self._transport, "_io_reader", None)
        if reader is None:
            await super()._read_loop()
            return
        with self._parser.reading(reader):
            await super()._read_loop()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        receiver = self._receivers.get(sid)
        if receiver is None and (taker := self._takers.get(sid)) is not None:
            receiver = partial(_take, taker, reply)
        if receiver is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            receiver(subject, data, headers)
        except Exception:  # noqa: BLE001  the read loop must live
            _log.exception("a message could not be received")

    def _connect_command(self) -> bytes:
        server = self._current_server
        writer = getattr(self._transport, "_io_writer", None)
        if (
            server is not None
            and server.uri.scheme == "tls"
            and (writer is None or writer.get_extra_info("ssl_object") is None)
        ):
            # nats-py would go on in the clear if the server, or who plays it, asks for no TLS.
            raise nats.errors.Error("nats: a tls:// server offered no TLS")
        if writer is not None and writer.get_extra_info("ssl_object") is not None:
            # nats-py upgrades a plain stream: unaware of it, asyncio warns when the server goes.
            writer.transport.get_protocol()._over_ssl = True  # noqa: SLF001
        return bytes(super()._connect_command())

    def _reason(self) -> str:
        return str(self.last_error or "closed").lower()

    async def _on_error(self, error: Exception) -> None:
        text = str(error).lower()
        if match := _REFUSED.search(text):
            self._events.refused(match[1], match[2])
        elif _is_authentication(text) and not self._done:
            if self.is_reconnecting or self.is_connecting:
                self._events.ended(self, text, refused=True)
        else:
            _log.debug("NATS: %s", text or type(error).__name__)

    async def _on_lost(self) -> None:
        self._fail_pings()
        # Where the credential ended, nats-py closes for good, and ``ended`` tells it.
        if not self._done and not (self.is_closed and _is_authentication(self._reason())):
            self._events.lost(self)
            await self._pause()

    async def _pause(self) -> None:
        """Hold nats-py up, which goes on with the next server when this returns."""
        seconds = self._pauses.broke(time.monotonic())
        if not seconds or not self.is_reconnecting:
            return
        _log.warning(
            "the NATS connection broke soon after it was made, %d times in a row; "
            "does this user have too many connections? Trying again in %.1f s",
            self._pauses.in_a_row,
            seconds,
        )
        await asyncio.sleep(seconds)

    async def _on_back(self) -> None:
        self._set_limit()
        self._pauses.made(time.monotonic())
        if not self._done:
            self._events.back(self)

    async def _on_closed(self) -> None:
        if not self._done:
            self._done = True
            reason = self._reason()
            self._events.ended(self, reason, refused=_is_authentication(reason))
