"""Peer: one app of one user, to be called."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from authsvc import subjects
from authsvc.errors import Disconnected, InvalidInput
from authsvc.rpc._calls.calls import Calls
from authsvc.rpc._calls.futures import Future
from authsvc.rpc._messages.message import Headers, HeaderTypes, Response
from authsvc.rpc._messages.middleware import CallMiddleware, Outgoing, layered
from authsvc.rpc._messages.trace import trace_of, traced
from authsvc.rpc._requester.contents import body_of, line_of, target_of
from authsvc.rpc._requester.sending import (
    Asking,
    call_of,
    check_size,
    check_timeout,
    connected,
    flow,
    tell,
)
from authsvc.rpc._requester.storing import store
from authsvc.rpc._responder.schema import SCHEMA_PATH, read_description
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.layers import Layers
from authsvc.rpc._streams.response import ResponseStream, stream
from authsvc.rpc._streams.transport import AsyncTransport
from authsvc.rpc._wire.expiry import expiry_seconds

__all__ = ["Peer"]


class Peer:
    """One app of one user, to be called. Made by ``AsyncClient.peer``."""

    __slots__ = (
        "_live",
        "_middleware",
        "_require_signed",
        "_sign",
        "_subject",
        "_through",
        "app",
        "name",
    )

    def __init__(
        self,
        live: Callable[[], tuple[Session, Calls]],
        me: str,
        name: str,
        app: str,
        *,
        middleware: Sequence[CallMiddleware] = (),
        sign: bool = False,
        require_signed: bool = False,
    ) -> None:
        self._live = live
        self._sign = sign
        self._require_signed = require_signed
        self._middleware = middleware
        self._through: Callable[[Outgoing], Awaitable[Response]] | None = None
        if middleware:
            bare = Peer(live, me, name, app, sign=sign)
            self._through = layered(middleware, bare._send)
        self.name = name
        self.app = app
        self._subject = subjects.Request(me, name, app).text

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
        check_timeout(timeout)
        body, pairs = body_of(json, content, headers)
        if self._through is not None:
            through, checked = self._through, Headers.checked(pairs)
            start = (self.name, self.app, method.upper(), target_of(target))
            return await through(Outgoing(*start, checked, body, timeout, idempotent))
        if (trace := trace_of(None)) is not None:
            pairs = traced(pairs, trace)
        connection = session.connection
        if connection is None:
            started = time.monotonic()
            connection = await connected(session, timeout)
            timeout = max(0.001, timeout - (time.monotonic() - started))
        call = call_of(
            session, line_of(method, target), pairs, body, timeout,
            subject=self._subject, sign=self._sign, idempotent=idempotent,
        )  # fmt: skip
        check_size(call, connection)
        future = calls.open(call, timeout)
        try:
            connection.send(call.subject, call.reply, call.payload)
            if connection.congested:
                await flow(connection, future)
            return await future
        except BaseException as error:
            calls.close(call)
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, whichever of the two is raised
            tell(session, calls, call, error)
            raise

    def asking(
        self,
        target: str,
        *,
        method: str,
        json: Any,
        content: bytes | str | None,
        headers: HeaderTypes,
        timeout: float,
        idempotent: bool,
    ) -> Asking | None:
        """``call`` for a thread that waits, up to where the event loop is needed; any thread may.

        None if more is needed than to send it: there is middleware, or no connection now.
        """
        session, calls = self._live()
        connection = session.connection
        if self._through is not None or connection is None:
            return None
        check_timeout(timeout)
        body, pairs = body_of(json, content, headers)
        if (trace := trace_of(None)) is not None:
            pairs = traced(pairs, trace)
        call = call_of(
            session, line_of(method, target), pairs, body, timeout,
            subject=self._subject, sign=self._sign, idempotent=idempotent,
        )  # fmt: skip
        check_size(call, connection)
        return Asking(session, calls, call, timeout)

    async def _send(self, call: Outgoing) -> Response:
        return await self.call(
            call.target,
            method=call.method,
            content=call.content,
            headers=call.headers,
            timeout=call.timeout,
            idempotent=call.idempotent,
        )

    async def describe(self, *, timeout: float = 30.0) -> dict[str, Any]:
        """What the app says of itself: endpoints, methods, JSON Schemas; see docs/wire.md.

        Only what this user may call is in it. The app's owner wrote it: believe it as far as
        you believe them.

        Args:
            timeout: Seconds until DeadlineExceeded.

        Raises:
            RemoteError: The app does not describe itself (404), or not to this user (403).
            InvalidMessage: It answered, but with something else.
            RpcError: As ``call`` does.
        """
        response = await self.call(SCHEMA_PATH, method="GET", timeout=timeout, idempotent=True)
        return read_description(response)

    async def submit(
        self,
        target: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        expires: float | str = "15m",
        timeout: float = 30.0,
    ) -> Future:
        """Store a request, which is handled when the responder is there; either side may be away.

        Args:
            target: Path and query, such as ``/ping?n=1``.
            method: The method.
            json: A body to be sent as JSON.
            content: A body as it is; str is sent as UTF-8.
            headers: More headers.
            expires: When it is not handled any more: ``"15m"``, ``"1h"``, ``"7d"``, or seconds.
            timeout: Seconds until nats-server must have confirmed that it is stored.

        Raises:
            NoResponder: The app keeps no requests: it is not registered as offline.
            Backlogged: As many requests of this user wait there as may wait.
            DeadlineExceeded: No confirmation came in time; it may be stored.
            PermissionDenied: nats-server refuses it, or the user was disabled.
            NotAuthenticated: The credential ended and there is no other.
            PayloadTooLarge: The request is larger than may be sent or kept.
            Disconnected: The client is closed, or authsvc can't be reached for a mailbox.
            InvalidInput: ``expires``, method, target or headers can't be.
            TypeError: ``content`` is neither bytes nor str, or ``json`` nothing JSON can hold.
        """
        mailbox = self._live()[1].stored
        check_timeout(timeout)
        seconds = expiry_seconds(expires)
        body, pairs = body_of(json, content, headers)
        if mailbox is None:
            raise Disconnected("not connected yet")
        self._check_signed("answers to stored requests")
        start = (self.name, self.app, method.upper(), target_of(target), Headers.checked(pairs))
        call = Outgoing(*start, body, timeout, idempotent=False, expires=seconds)
        return await store(mailbox, self._middleware, call, seconds)

    def _check_signed(self, what: str) -> None:
        if self._require_signed:
            raise InvalidInput(f"{what} are not signed; use a client without require_signed=")

    def stream(
        self,
        target: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | AsyncIterable[bytes] | None = None,
        headers: HeaderTypes = (),
        timeout: float = 30.0,
    ) -> AbstractAsyncContextManager[ResponseStream]:
        """Send a request and read its response piece by piece; neither body is held as a whole.

        ``async with peer.stream("/big", method="GET") as response:``

        Args:
            target: Path and query.
            method: The method.
            json: A body to be sent as JSON.
            content: A body as it is, or pieces of bytes, which leave as they come.
            headers: More headers.
            timeout: Seconds until DeadlineExceeded: for the response to begin, and for each
                further piece either way.

        Raises:
            RpcError: As ``call``; while the body is read too.
        """
        if content is None or isinstance(content, bytes | bytearray | memoryview | str):
            body: bytes | AsyncIterable[bytes]
            body, pairs = body_of(json, content, headers)
        elif json is not None:
            raise ValueError("json= or content=, not both")
        else:
            body, pairs = content, Headers(headers).pairs
        return stream(
            self._live,
            self._subject,
            target,
            layers=Layers(self._middleware, self.name, self.app, self._sign),
            method=method,
            body=body,
            pairs=pairs,
            timeout=timeout,
        )

    def transport(self) -> AsyncTransport:
        """An httpx transport: ``httpx.AsyncClient(transport=peer.transport(), base_url=...)``."""
        layers = Layers(self._middleware, self.name, self.app) if self._middleware else None
        return AsyncTransport(self._live, self._subject, layers=layers, sign=self._sign)
