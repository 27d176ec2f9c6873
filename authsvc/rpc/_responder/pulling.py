"""Taking an app's stored requests: asking JetStream for them, and seeing that they are ours."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from functools import lru_cache
from typing import Protocol

from authsvc import subjects
from authsvc.errors import InvalidInput, InvalidMessage, RpcError
from authsvc.rpc._responder.app import ServiceStats
from authsvc.rpc._session.interests import Interest
from authsvc.rpc._session.parser import Taker
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.frames import RequestFrame, decode_request
from authsvc.rpc._wire.jetstream import (
    TERM,
    AckReader,
    Delivered,
    next_subject,
    pull_body,
    read_status,
    stream_names,
)

__all__ = ["Puller", "Sink"]

_log = logging.getLogger(__name__)
_MAX_BATCH = 256
_MAX_BYTES = 16 << 20
_EXPIRES_SECONDS, _HEARTBEAT_SECONDS = 20.0, 3.0
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
_TICK_SECONDS = 1.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0
_HEARTBEAT, _OVER, _CONFLICT, _NOBODY = 100, (404, 408), 409, 503
_COMPLETED = "Batch Completed"  # said where a pull bounds the bytes


class Sink(Protocol):
    """Who gets the requests."""

    def room(self) -> int:
        """How many more it takes."""

    def deliver(
        self, requester: str, start: str, frame: RequestFrame, ack: str, about: Delivered
    ) -> None:
        """A request; runs inside the read loop.

        Args:
            requester: Who sent it.
            start: What the subject of its answer begins with.
            frame: The request.
            ack: Where it is acknowledged.
            about: How often and when it was handed out.
        """

    def delivered(self, about: Delivered) -> None:
        """Something was handed out; ``deliver`` follows if it is a request."""

    def missing(self) -> None:
        """There is no such consumer."""


class Puller:
    """Asks for an app's stored requests, and for more as there is room for them.

    What comes counts only by an inbox of its own that nobody can guess, with an ack subject of
    our stream and consumer, a request subject of our app, and the framing. A message shows its
    own subject, not the inbox that it came by, so the subscription is all that tells.

    Args:
        session: Whose requests.
        app: The app's name.
        sink: Who gets them.
        chunk: How many are worth a question.
        stats: What is counted.
    """

    def __init__(
        self, session: Session, app: str, sink: Sink, chunk: int, stats: ServiceStats
    ) -> None:
        user, token = subjects.token(session.login.username), subjects.token(app)
        stream, _ = stream_names(user)
        self._session = session
        self._sink = sink
        self._chunk = chunk
        self._stats = stats
        self._subject = next_subject(stream, token)
        self._acks = AckReader(stream, token)
        self._end = f".{user}.{token}.{subjects.STORED}".encode("ascii")
        self._inbox = ""
        self._loop = asyncio.get_running_loop()
        self._interest: Interest | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._number = 0
        self._open: dict[int, float] = {}
        self._expected = 0
        self._heard = 0.0
        self._backoff = _FIRST_BACKOFF
        self._not_before = 0.0
        self._max_bytes = _MAX_BYTES
        self._moving: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Listen, and ask.

        Raises:
            PermissionDenied: nats-server refuses it.
        """
        await self._listen()
        if self._stopped:
            return
        self._session.watch(self._changed)
        self._tick()

    async def _listen(self) -> None:
        prefix = subjects.inbox_prefix(self._session.login.username)
        self._inbox = f"{prefix}.pull-{os.urandom(16).hex()}"
        # No queue group: nats-server tells those nothing where nobody answers. While a renewed
        # connection takes over, messages come twice, which the sink knows.
        self._interest = await self._session.listen(f"{self._inbox}.*", Taker(self._receive))

    def stop(self) -> None:
        """Ask for no more; what was asked for may still come."""
        self._stopped = True
        self._session.unwatch(self._changed)
        if self._timer is not None:
            self._timer.cancel()

    async def close(self) -> None:
        """Stop listening; what was under way has been received when this returns.

        Without an inbox that anybody listens to, nats-server forgets the pulls too.
        """
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait({self._moving})
        if self._interest is not None:
            await self._session.forget(self._interest)

    def _move(self) -> None:
        """Take another inbox.

        In a stream of answers that crosses accounts, nats-server takes an empty message for the
        end, and loses what follows by the same pull until it is handed out again. So whoever
        sends an empty request would keep away those of others: pulls of an inbox that nobody
        listens to any more are given up at once.
        """
        if self._moving is None and not self._stopped:
            self._moving = asyncio.create_task(self._moved())

    async def _moved(self) -> None:
        self._open.clear()
        self._expected = 0
        old, self._interest = self._interest, None
        try:
            if old is not None:
                await self._session.forget(old)
            await self._listen()
        except RpcError as error:
            _log.warning("stored requests can't be taken any more: %s", error)
        self._moving = None
        self.pull()

    def pull(self) -> None:
        """Ask for as many as there is room for, if that is worth a question."""
        room = min(self._sink.room() - self._expected, _MAX_BATCH)
        if self._stopped or self._moving is not None or room < self._chunk:
            return
        now = time.monotonic()
        connection = self._session.connection
        if connection is None or now < self._not_before:
            return
        self._number += 1
        self._open[self._number] = now + _EXPIRES_SECONDS
        self._expected += room
        self._heard = now
        connection.send(
            self._subject,
            f"{self._inbox}.{self._number}",
            pull_body(
                room,
                expires=_EXPIRES_SECONDS,
                heartbeat=_HEARTBEAT_SECONDS,
                max_bytes=self._max_bytes,
            ),
        )

    def _again(self) -> None:
        """Nothing that was asked for counts any more: ask anew."""
        self._open.clear()
        self._expected = 0
        self.pull()

    def _changed(self) -> None:
        if self._session.failure is None:
            self._again()

    def _tick(self) -> None:
        now = time.monotonic()
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)
        # A pull is forgotten by a server that restarts or hands the stream over.
        if self._expected and now - self._heard > _SILENCE_SECONDS:
            self._again()
        else:
            self.pull()

    def _receive(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        try:
            if not reply:
                self._status(subject, data, headers)
                return
            about = self._acks.read(reply)
        except InvalidMessage:
            self._stats.malformed += 1
            return
        self._heard = time.monotonic()
        self._backoff = _FIRST_BACKOFF
        self._expected = max(0, self._expected - 1)
        self._sink.delivered(about)
        ack = reply.decode("ascii")
        if not data and headers is None:
            self._move()
        try:
            requester, start = _parties(subject, self._end)
            frame = decode_request(data)
        except InvalidInput:
            self._stats.malformed += 1
            # It is in our stream, and will never be more than it is.
            if (connection := self._session.connection) is not None:
                connection.send(ack, "", TERM)
            return
        self._sink.deliver(requester, start, frame, ack, about)

    def _status(self, subject: bytes, data: bytes, headers: bytes | None) -> None:
        status = read_status(data, headers)
        inbox, _, number = subject.decode("latin-1").rpartition(".")
        if inbox != self._inbox or not number.isdecimal() or int(number) > self._number:
            raise InvalidMessage("a status of no pull of ours")
        self._heard = time.monotonic()
        if status.code == _HEARTBEAT or int(number) not in self._open:
            return
        self._open.pop(int(number))
        self._expected = max(0, self._expected - status.pending) if self._open else 0
        if status.code in _OVER or (status.code == _CONFLICT and status.text == _COMPLETED):
            self.pull()
            return
        if status.code == _NOBODY:
            self._sink.missing()
        elif status.code == _CONFLICT and "maxbytes" in status.text.lower():
            # The bound of the consumer is lower, or one message is larger than a pull of ours.
            self._max_bytes = 0 if "exceeded" in status.text.lower() else self._max_bytes
        self._later()

    def _later(self) -> None:
        """Ask again, after a pause that grows while nothing comes."""
        self._not_before = time.monotonic() + self._backoff
        self._loop.call_later(self._backoff, self.pull)
        self._backoff = min(2 * self._backoff, _LAST_BACKOFF)


@lru_cache(4096)
def _parties(subject: bytes, end: bytes) -> tuple[str, str]:
    """Who sent it, and what its answer's subject begins with.

    Raises:
        InvalidInput: Not a stored request for this app.
    """
    prefix = b"requests."
    if not (subject.startswith(prefix) and subject.endswith(end)):
        raise InvalidMessage("not a stored request for this app")
    requester = subjects.untoken(subject[len(prefix) : -len(end)].decode("latin-1"))
    return requester, f"responses{subject[len('requests') : -len('stored')].decode('ascii')}"
