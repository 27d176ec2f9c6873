"""Peer: one app of one user, to be called."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from authsvc import subjects
from authsvc.errors import DeadlineExceeded, Disconnected, PayloadTooLarge
from authsvc.rpc._calls import Call, Calls
from authsvc.rpc._cancelling import CANCEL, cancel_bytes
from authsvc.rpc._connection import Connection
from authsvc.rpc._messages import Headers, HeaderTypes, Response, travelling
from authsvc.rpc._middleware import CallMiddleware, Outgoing, layered
from authsvc.rpc._payloads import json_bytes
from authsvc.rpc._session import Session
from authsvc.rpc._signing import sealed
from authsvc.rpc._trace import trace_of, traced
from authsvc.rpc._wire import Pairs, call_line, request_bytes

__all__ = ["Peer"]

_JSON: Pairs = (("content-type", "application/json"),)
_TEXT: Pairs = (("content-type", "text/plain; charset=utf-8"),)
_MAX_TIMEOUT = 366 * 86400.0


class Peer:
    """One app of one user, to be called. Made by ``AsyncClient.peer``."""

    __slots__ = ("_end", "_live", "_sign", "_subject", "_through", "app", "name")

    def __init__(
        self,
        live: Callable[[], tuple[Session, Calls]],
        me: str,
        name: str,
        app: str,
        *,
        middleware: Sequence[CallMiddleware] = (),
        sign: bool = False,
    ) -> None:
        self._live = live
        self._sign = sign
        self._through: Callable[[Outgoing], Awaitable[Response]] | None = None
        if middleware:
            bare = Peer(live, me, name, app, sign=sign)
            self._through = layered(middleware, bare._send)
        self.name = name
        self.app = app
        self._subject = subjects.Request(me, name, app).text
        self._end = self._subject[len("requests") :] + "."

    def __repr__(self) -> str:
        return f"<Peer {self.name} {self.app}>"

    async def call(
        self,
        target: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        timeout: float = 30.0,
        idempotent: bool = False,
    ) -> Response:
        """Send a request and wait for its response, whatever its status.

        Args:
            target: Path and query, such as ``/ping?n=1``.
            method: The method.
            json: A body to be sent as JSON; pydantic models may be in it.
            content: A body as it is; str is sent as UTF-8.
            headers: More headers.
            timeout: Seconds until DeadlineExceeded; the responder knows it too.
            idempotent: Whether the request may be sent again when the connection broke.

        Raises:
            NoResponder: Nobody listens for the app; known at once.
            DeadlineExceeded: No response came in time.
            PermissionDenied: nats-server refuses this call, or the user was disabled.
            NotAuthenticated: The credential ended and there is no other.
            PayloadTooLarge: The request is larger than may be sent.
            Disconnected: The connection broke meanwhile.
            InvalidMessage: Method, target or headers can't travel.
            TypeError: ``content`` is neither bytes nor str, or ``json`` nothing JSON can hold.
        """
        session, calls = self._live()
        if timeout is None or not 0 < timeout <= _MAX_TIMEOUT:
            raise ValueError("timeout is a number of seconds above 0")
        body, pairs = _body(json, content, headers)
        if self._through is not None:
            through, checked = self._through, Headers.checked(pairs)
            start = (self.name, self.app, method.upper(), _target(target))
            return await through(Outgoing(*start, checked, body, timeout, idempotent))
        if (trace := trace_of(None)) is not None:
            pairs = traced(pairs, trace)
        connection = session.connection
        if connection is None:
            started = time.monotonic()
            connection = await _connected(session, timeout)
            timeout = max(0.001, timeout - (time.monotonic() - started))
        request_id = os.urandom(16).hex()
        line = call_line(method.upper(), _target(target))
        now = int(time.time() * 1000)
        payload = request_bytes(request_id, now, now + math.ceil(timeout * 1000), line, pairs, body)
        if self._sign:
            payload = sealed(payload, self._subject, session.login)
        if len(payload) > connection.limit:
            raise PayloadTooLarge(
                f"the request has {len(payload)} bytes, {connection.limit} at most"
            )
        end = self._end + request_id
        call = Call(
            self._subject,
            b"responses" + end.encode("ascii"),
            "_INBOX" + end,
            payload,
            idempotent=idempotent,
        )
        future = calls.open(call, timeout)
        try:
            connection.send(call.subject, call.reply, payload)
            if connection.congested:
                await _flow(connection, future)
            return await future
        except BaseException as error:
            calls.close(call)
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, whichever of the two is raised
            _tell(session, calls, call, request_id, error)
            raise

    async def _send(self, call: Outgoing) -> Response:
        return await self.call(
            call.target,
            method=call.method,
            content=call.content,
            headers=call.headers,
            timeout=call.timeout,
            idempotent=call.idempotent,
        )


def _tell(
    session: Session, calls: Calls, call: Call, request_id: str, error: BaseException
) -> None:
    """Tell the responder if nobody waits any more; nobody has to listen."""
    if not isinstance(error, asyncio.CancelledError | DeadlineExceeded):
        return
    connection = session.connection
    # A credential that is narrowed to one app may not publish there.
    if connection is not None and session.login.app is None:
        with suppress(Disconnected):
            connection.send(call.subject + CANCEL, "", cancel_bytes(request_id))
            calls.stats.cancelled += 1


async def _flow(connection: Connection, future: asyncio.Future[Response]) -> None:
    """Wait until the socket takes more, but no longer than the call lasts."""
    flow: asyncio.Future[Any] = asyncio.ensure_future(connection.flow())
    waited: set[asyncio.Future[Any]] = {flow, future}
    try:
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if flow.done():
            flow.result()
    finally:
        flow.cancel()


async def _connected(session: Session, timeout: float) -> Connection:
    try:
        async with asyncio.timeout(timeout):
            return await session.usable()
    except TimeoutError as error:
        raise DeadlineExceeded("there was no connection to nats-server in time") from error


def _body(json: Any, content: bytes | str | None, headers: HeaderTypes) -> tuple[bytes, Pairs]:
    pairs = Headers(headers).pairs if headers else ()
    if json is not None:
        if content is not None:
            raise ValueError("json= or content=, not both")
        body, added = json_bytes(json), _JSON
    elif content is None:
        return b"", pairs
    elif isinstance(content, str):
        body, added = content.encode(), _TEXT
    elif isinstance(content, bytes | bytearray | memoryview):
        return bytes(content), pairs
    else:
        raise TypeError("content= is bytes or str; json= sends what else JSON can hold")
    if pairs and any(name == "content-type" for name, _ in pairs):
        return body, pairs
    return body, pairs + added if pairs else added


_target = lru_cache(256)(travelling)
