"""The requester's side of stored requests: submit them, hear and read what answers them."""

from __future__ import annotations

import asyncio
import math
import os
import time
import weakref
from functools import partial
from typing import Any

from authsvc import subjects
from authsvc.errors import InvalidMessage, NoResponder, PayloadTooLarge, RpcError
from authsvc.rpc._calls.calls import ClientStats
from authsvc.rpc._calls.futures import Future, Pending, Ticket
from authsvc.rpc._calls.making import Making
from authsvc.rpc._calls.places import places, refusal
from authsvc.rpc._calls.receipts import Question, Receipts
from authsvc.rpc._messages.message import Response
from authsvc.rpc._session.owner import fresh
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.frames import Pairs, decode_response, request_bytes
from authsvc.rpc._wire.jetstream import (
    NOBODY,
    Refusal,
    read_body,
    read_message,
    read_subject,
    stream_names,
)
from authsvc.rpc._wire.signing import sealed

__all__ = ["Mailbox"]

_READS_AT_A_TIME = 64
_ENSURE_SECONDS = 10.0
# Streams come back a moment after the server does.
_SETTLING_SECONDS, _AGAIN_SECONDS = 5.0, 0.25
_MESSAGE_ID_BYTES = 64
_STREAM_MISSING = 10059


class Mailbox:
    """What one client submitted and waits for.

    ``epoch`` counts the connections; who heard nothing on one of them must read.

    Args:
        session: Who submits.
        stats: What is counted.
    """

    def __init__(self, session: Session, stats: ClientStats) -> None:
        # Whether requests are signed.
        self.signs = False
        self.receipts = Receipts(session, stats)
        self.epoch = 0
        self._session = session
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._user = subjects.token(session.login.username)
        self._pending: weakref.WeakValueDictionary[bytes, Pending] = weakref.WeakValueDictionary()
        self._waiting: set[Pending] = set()
        self._reads = asyncio.Semaphore(_READS_AT_A_TIME)
        self._making = Making(session, self.receipts)
        self._changed_at = -math.inf
        session.watch(self._changed)

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def narrowed(self) -> bool:
        """Whether the credential is of one app: it hears answers, but can't read them."""
        return self._session.login.app is not None

    async def submit(
        self,
        name: str,
        app: str,
        message: tuple[bytes, Pairs, bytes],
        *,
        expires: float,
        timeout: float,
    ) -> Future:
        """Store a request at the responder's, and return its Future.

        Args:
            name: The responder.
            app: The responder's app.
            message: From ``call_line``, headers, and body.
            expires: Seconds until it is not handled any more.
            timeout: Seconds until nats-server must have confirmed it.

        Raises:
            RpcError: As ``Peer.submit`` says.
        """
        until = time.monotonic() + timeout
        await self._making.ensure(timeout, self._exists)
        line, pairs, body = message
        now = int(time.time() * 1000)
        ticket = Ticket(name, app, os.urandom(16).hex(), now + math.ceil(expires * 1000))
        payload = request_bytes(ticket.request_id, now, ticket.deadline, line, pairs, body)
        if self.signs:
            login = self._session.login
            subject = subjects.Request(login.username, name, app).text
            payload = sealed(payload, subject, login)
        connection = self._session.connection
        if connection is not None and len(payload) > connection.limit - _MESSAGE_ID_BYTES:
            raise PayloadTooLarge(
                f"the request has {len(payload)} bytes, {connection.limit - _MESSAGE_ID_BYTES} "
                "at most"
            )
        pending = self._pending[self._key(ticket)] = Pending(self, ticket, self.epoch)
        self._stats.submitted += 1
        await self._store(ticket, payload, until)
        return Future(pending)

    async def _store(self, ticket: Ticket, payload: bytes, until: float) -> None:
        """Publish until JetStream says that it has it."""
        waiter: asyncio.Future[Any] = self._loop.create_future()
        place = places(self._user, ticket.name, ticket.app)
        question = Question(
            place.requests,
            payload,
            read=place.read,
            told=partial(self._told, waiter),
            message_id=ticket.request_id,
            until=until,
        )
        while True:
            answer = await self._ask(question, waiter)
            settling = time.monotonic() - self._changed_at < _SETTLING_SECONDS
            if answer is not NOBODY or not settling:
                break
            await asyncio.sleep(_AGAIN_SECONDS)
            waiter = self._loop.create_future()
            question.told = partial(self._told, waiter)
        if answer is NOBODY:
            self._stats.no_responder += 1
            raise NoResponder(
                f"{ticket.name} keeps no requests for {ticket.app!r}: the app must be registered "
                "there, which Service(..., offline=True) does"
            )
        if isinstance(answer, Refusal):
            raise refusal(answer, ticket.name, ticket.app)

    async def _ask(self, question: Question, waiter: asyncio.Future[Any]) -> Any:
        self.receipts.ask(question)
        try:
            answer = await waiter
        finally:
            self.receipts.forget(question)
        if isinstance(answer, RpcError):
            raise answer
        return answer

    @staticmethod
    def _told(waiter: asyncio.Future[Any], answer: Any) -> None:
        if not waiter.done():
            waiter.set_result(answer)

    async def _exists(self, timeout: float) -> bool:
        subject = f"responses.{self._user}.{self._user}.-.{'0' * 32}.stored"
        answer = await self._read(subject, min(timeout, _ENSURE_SECONDS))
        return answer is not NOBODY and not (
            isinstance(answer, Refusal) and answer.error == _STREAM_MISSING
        )

    def future(self, future_id: str) -> Future:
        """The Future of a request that was submitted before, here or in another process.

        Raises:
            InvalidInput: Not a Future's id.
        """
        ticket = Ticket.parse(future_id)
        key = self._key(ticket)
        found = self._pending.get(key)
        if found is None or found.ticket != ticket:
            found = self._pending[key] = Pending(self, ticket, -1)
        return Future(found)

    async def read(self, ticket: Ticket, timeout: float) -> Response | None:
        """The answer that the mailbox holds, if it does.

        Raises:
            DeadlineExceeded: nats-server did not say in so many seconds.
            RpcError: It can't be read.
        """
        await self.receipts.listen()
        subject = self._key(ticket).decode("ascii")
        async with self._reads:
            found = await self._read(subject, timeout)
        if not isinstance(found, bytes):
            return None
        return self._response(ticket.request_id, found)

    async def _read(self, subject: str, timeout: float) -> Any:
        _, stream = stream_names(self._user)
        waiter: asyncio.Future[Any] = self._loop.create_future()
        question = Question(
            read_subject(stream),
            read_body(subject),
            read=partial(read_message, subject),
            told=partial(self._told, waiter),
            until=time.monotonic() + timeout,
        )
        return await self._ask(question, waiter)

    def _response(self, request_id: str, data: bytes) -> Response | None:
        try:
            found, status, pairs, content = decode_response(data)
        except InvalidMessage:
            found = ""
        if found != request_id:
            self._stats.malformed += 1
            return None
        return Response.received(found, status, pairs, content)

    def _key(self, ticket: Ticket) -> bytes:
        start = places(self._user, ticket.name, ticket.app).responses
        return f"{start}{ticket.request_id}.stored".encode("ascii")

    def take(self, subject: bytes, data: bytes) -> bool:
        """Take a message that came on the response subscription; False if it is nobody's here."""
        pending = self._pending.get(subject)
        if pending is None:
            return False
        response = self._response(pending.ticket.request_id, data)
        if response is None:
            return True
        if pending.answered(response):
            self._stats.responses += 1
        return True

    async def wait(self, pending: Pending, seconds: float) -> bool:
        """Wait until one is woken; False if the seconds were over before.

        Raises:
            RpcError: There will be no connection any more.
        """
        if self._session.failure is not None:
            raise fresh(self._session.failure)
        waiter = pending.waiter(self._loop)
        timer = self._loop.call_later(seconds, _expire, waiter)
        self._waiting.add(pending)
        try:
            return await waiter
        finally:
            timer.cancel()
            if not pending.forget(waiter):
                self._waiting.discard(pending)

    def drop(self, pending: Pending) -> None:
        """Its answer is not wanted any more."""
        self._pending.pop(self._key(pending.ticket), None)

    def refused(self, subject: str) -> None:
        """nats-server refused a publish; the subject is in lower case."""
        self.receipts.refused(subject)

    def stop(self, error: RpcError) -> None:
        """Nothing is waited for any more."""
        self._session.unwatch(self._changed)
        self.receipts.fail_all(error)
        self.receipts.stop()
        for pending in list(self._waiting):
            pending.wake(fresh(error))

    def _changed(self) -> None:
        self.epoch += 1
        self._changed_at = time.monotonic()
        failure = self._session.failure
        for pending in list(self._waiting):
            pending.wake(None if failure is None else fresh(failure))


def _expire(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
