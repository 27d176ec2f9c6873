"""What every request passes: its id, the bound on its body, a line in the log.

Plain ASGI, because Starlette's BaseHTTPMiddleware costs a task and a queue per request.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authsvc.errors import Overloaded
from authsvc.server import logs, metrics, tracing
from authsvc.server.api.gate import Gate
from authsvc.server.api.problems import (
    PROBLEMS,
    Endpoint,
    Problem,
    answer_of,
    problem_response,
)
from authsvc.server.api.ready import ReadyJson
from authsvc.server.api.refusing import LATER, RETRY_AFTER

__all__ = ["MAX_BODY_BYTES", "Edge"]

MAX_BODY_BYTES = 64 * 1024
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.\-]{8,64}\Z")
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_IN_FRONT = frozenset({"/v1/credentials", "/v1/credentials/renew"})
"""Served without the router, which would name their route."""
_TOO_LARGE = Problem(413, "body-too-large", "The body is too large")
_LIMIT = "A body may have {} bytes."
_UNLESS_SAID = {b"referrer-policy": b"no-referrer", b"cache-control": b"no-store"}
"""What an answer says unless it says otherwise."""
_HEADERS = ((b"x-content-type-options", b"nosniff"), *_UNLESS_SAID.items())
_LINES = b"".join(b"%b: %b\r\n" % header for header in _HEADERS)


class Edge:
    """The outermost layer of the application.

    Args:
        app: What is inside.
        quiet: Paths that are asked all the time and not worth a line each.
        posts: Endpoints for POST by path that are served from here: what lies between, and
            they have no use for, costs as much as a signature.
        bounds: Bytes of a body by path, where it may be larger than others; such a route
            counts for itself what it reads.
        gate: In front of the endpoints in ``posts``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        quiet: frozenset[str] = frozenset(),
        posts: Mapping[str, Endpoint] = MappingProxyType({}),
        bounds: Mapping[str, int] = MappingProxyType({}),
        gate: Gate | None = None,
    ) -> None:
        self.app = app
        self.quiet = quiet
        self.posts = posts
        self.bounds = bounds
        self.gate = gate
        self.log = logs.RequestLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told = _read_headers(scope)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = told.request_id.decode()
        started = time.perf_counter()
        status = 500
        head = scope["method"] == "HEAD"

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                own = [*_HEADERS]
                for name, _ in headers:
                    if name in _UNLESS_SAID:
                        own = [it for it in own if it[0] != name]
                headers += own
                headers.append((b"x-request-id", told.request_id))
            elif head:
                message = {**message, "body": b""}
            await send(message)

        with tracing.request_span(scope["method"], scope["headers"], state["request_id"]) as span:
            try:
                handle = self._post if self._is_short_post(scope, told) else self._handle
                left = await handle(scope, receive, answer, told)
                if left is not None:
                    status = left
            finally:
                seconds = time.perf_counter() - started
                route = _count(scope, status, seconds)
                tracing.finish_request(span, scope["method"], route, status)
                if scope["path"] not in self.quiet:
                    self.log.add(_line(scope, status, seconds))

    def _is_short_post(self, scope: Scope, told: _Told) -> bool:
        """Whether it is served from here and has a body that fits, as nearly all of them do."""
        return (
            scope["method"] == "POST"
            and scope["path"] in self.posts
            and not told.chunked
            and (not told.length or _fits(told.length, MAX_BODY_BYTES))
        )

    async def _handle(self, scope: Scope, receive: Receive, send: Send, told: _Told) -> int | None:
        """Pass a request on; the status, where the answer left without ``send``."""
        if scope["method"] == "HEAD":
            # RFC 9110, 9.3.2: what GET answers, without its content.
            scope["state"]["method"] = "HEAD"
            inner = {**scope, "method": "GET"}
            await self.app(inner, receive, send)
            scope["route"] = inner.get("route")
            return None
        return await self._pass(scope, receive, send, told)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, told: _Told) -> int | None:
        length = told.length
        bound = self.bounds.get(scope["path"], MAX_BODY_BYTES)
        whole: Receive | None = receive
        if length and not _fits(length, bound):
            whole = None
        elif told.chunked and scope["path"] not in self.bounds:
            whole = await _read_whole(receive)
        if whole is None:
            response = problem_response(
                _TOO_LARGE,
                _LIMIT.format(bound),
                instance=scope["path"],
                headers={"Connection": "close"},
            )
            await response(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] in self.posts:
            return await self._post(scope, whole, send, told)
        else:
            await self.app(scope, whole, send)
        return None

    async def _post(self, scope: Scope, receive: Receive, send: Send, told: _Told) -> int | None:
        """Answer what is served from here."""
        if self.gate is None or self.gate.has_room():
            response = await answer_of(self.posts[scope["path"]], scope, receive)
        else:
            # No line for each in the error log: it would cost those who are answered.
            response = problem_response(
                PROBLEMS[Overloaded],
                LATER,
                instance=scope["path"],
                headers={"Retry-After": RETRY_AFTER},
            )
        own = b"%bx-request-id: %b\r\n" % (_LINES, told.request_id)
        if isinstance(response, ReadyJson) and response.leave(scope, own):
            return response.status_code
        await response(scope, receive, send)
        return None


def _fits(length: bytes, bound: int) -> bool:
    # Leading zeros are allowed, and Python reads no number of thousands of digits.
    return length.isdigit() and int(length.lstrip(b"0")[:20] or b"0") <= bound


def _line(scope: Scope, status: int, seconds: float) -> dict[str, Any]:
    """What the log has of a request."""
    line = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "ms": round(seconds * 1000, 1),
        "request_id": scope["state"]["request_id"],
    }
    trace = tracing.trace_id()
    return line if trace is None else {**line, "trace_id": trace}


def _count(scope: Scope, status: int, seconds: float) -> str:
    """Count a request by what is no choice of the client's; the route, in place of the path."""
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = getattr(scope.get("route"), "path", None)
    if route is None:
        route = scope["path"] if scope["path"] in _IN_FRONT and method == "POST" else "none"
    _counter(method, route, status).inc()
    _histogram(method, route).observe(seconds)
    return str(route)


# Finding a metric by its labels costs as much as a log line. There are as many as routes.
_counter = cache(metrics.REQUESTS.labels)
_histogram = cache(metrics.REQUEST_SECONDS.labels)


class _Told(NamedTuple):
    """What the headers say that matters here."""

    request_id: bytes
    length: bytes
    chunked: bool


def _read_headers(scope: Scope) -> _Told:
    """The request's id, its own or a new one, and what it says of its body's length."""
    given = length = b""
    chunked = False
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value
        elif name == b"content-length":
            length = value
        elif name == b"transfer-encoding":
            chunked = True
    if not _REQUEST_ID.match(given):
        given = logs.new_request_id()
    return _Told(given, length, chunked)


async def _read_whole(receive: Receive) -> Receive | None:
    """Read a body that doesn't tell its length before anything is done; None if it is too large.

    Returns:
        What gives the same messages again.
    """
    messages: deque[Message] = deque()
    size = 0
    more = True
    while more:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            return None
        more = message["type"] == "http.request" and message.get("more_body", False)

    async def again() -> Message:
        return messages.popleft() if messages else await receive()

    return again
