"""What a call does around being sent, in a coroutine or for a thread that waits."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import Any

from authsvc.errors import DeadlineExceeded, Disconnected, PayloadTooLarge
from authsvc.rpc._calls.call import Call, Outcome
from authsvc.rpc._calls.calls import Calls
from authsvc.rpc._messages.message import Response
from authsvc.rpc._responder.cancelling import CANCEL, cancel_bytes
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.frames import Pairs, request_bytes
from authsvc.rpc._wire.ids import request_id
from authsvc.rpc._wire.signing import sealed

__all__ = ["Asking", "call_of", "check_size", "check_timeout", "connected", "flow", "tell"]

_MAX_TIMEOUT = 366 * 86400.0


class Asking:
    """A call that is made in one thread and sent by the event loop of another.

    Args:
        session: Who calls.
        calls: The table of calls.
        call: What is sent.
        timeout: Seconds from when it is.
    """

    __slots__ = ("_call", "_calls", "_session", "_timeout")

    def __init__(self, session: Session, calls: Calls, call: Call, timeout: float) -> None:
        self._session = session
        self._calls = calls
        self._call = call
        self._timeout = timeout

    def begin(self, outcome: Outcome) -> None:
        """Send it, in the event loop.

        Raises:
            Disconnected: The connection broke.
        """
        connection = self._session.connection
        if connection is None:
            raise Disconnected("there is no connection to nats-server now")
        self._calls.enter(self._call, self._timeout, outcome)
        try:
            connection.send(self._call.subject, self._call.reply, self._call.payload)
        except BaseException:
            self._calls.close(self._call)
            raise

    def end(self, error: BaseException) -> None:
        """It ended with this, in the event loop."""
        self._calls.close(self._call)
        tell(self._session, self._calls, self._call, error)


def call_of(
    session: Session,
    line: bytes,
    pairs: Pairs,
    body: bytes,
    timeout: float,
    *,
    subject: str,
    sign: bool,
    idempotent: bool,
) -> Call:
    """A call with an id of its own.

    Args:
        session: Who calls.
        line: From ``line_of``.
        pairs: The headers.
        body: The body.
        timeout: Seconds until its deadline.
        subject: The request's subject.
        sign: Whether it is signed.
        idempotent: Whether it may be sent again.
    """
    identity = request_id()
    now = int(time.time() * 1000)
    payload = request_bytes(identity, now, now + math.ceil(timeout * 1000), line, pairs, body)
    if sign:
        payload = sealed(payload, subject, session.login)
    return Call(subject, identity, payload, idempotent=idempotent)


def check_timeout(timeout: float | None) -> None:
    if timeout is None or not 0 < timeout <= _MAX_TIMEOUT:
        raise ValueError("timeout is a number of seconds above 0")


def check_size(call: Call, connection: Connection) -> None:
    size = len(call.payload)
    if size > connection.limit:
        raise PayloadTooLarge(f"the request has {size} bytes, {connection.limit} at most")


def tell(session: Session, calls: Calls, call: Call, error: BaseException) -> None:
    """Tell the responder if nobody waits any more; nobody has to listen."""
    if not isinstance(error, asyncio.CancelledError | DeadlineExceeded):
        return
    connection = session.connection
    # A credential that is narrowed to one app may not publish there.
    if connection is not None and session.login.app is None:
        with suppress(Disconnected):
            connection.send(call.subject + CANCEL, "", cancel_bytes(call.id))
            calls.stats.cancelled += 1


async def flow(connection: Connection, future: asyncio.Future[Response]) -> None:
    """Wait until the socket takes more, but no longer than the call lasts."""
    flowing: asyncio.Future[Any] = asyncio.ensure_future(connection.flow())
    waited: set[asyncio.Future[Any]] = {flowing, future}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if flowing.done():
            flowing.result()
    finally:
        flowing.cancel()


async def connected(session: Session, timeout: float) -> Connection:
    try:
        async with asyncio.timeout(timeout):
            return await session.usable()
    except TimeoutError as error:
        raise DeadlineExceeded("there was no connection to nats-server in time") from error
