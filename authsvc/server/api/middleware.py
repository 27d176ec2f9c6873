"""What every request passes: its id, the bound on its body, a line in the log.

Plain ASGI, because Starlette's BaseHTTPMiddleware costs a task and a queue per request.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authsvc.server import logs
from authsvc.server.api.problems import Endpoint, Problem, problem_response, serve

__all__ = ["MAX_BODY_BYTES", "Edge"]

MAX_BODY_BYTES = 64 * 1024
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.\-]{8,64}\Z")
_TOO_LARGE = Problem(413, "body-too-large", "The body is too large")
_LIMIT = "A body may have {} bytes."
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Edge:
    """The outermost layer of the application.

    Args:
        app: What is inside.
        quiet: Paths that are asked all the time and not worth a line each.
        posts: Endpoints for POST by path that are served from here: what lies between, and
            they have no use for, costs as much as a signature.
        bounds: Bytes of a body by path, where it may be larger than others; such a route
            counts for itself what it reads.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        quiet: frozenset[str] = frozenset(),
        posts: Mapping[str, Endpoint] = MappingProxyType({}),
        bounds: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app = app
        self.quiet = quiet
        self.posts = posts
        self.bounds = bounds
        self.log = logs.RequestLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id, length = _read_headers(scope)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        started = time.perf_counter()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                headers.append((b"x-request-id", request_id))
                headers += _SECURITY_HEADERS
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
            await send(message)

        try:
            bound = self.bounds.get(scope["path"], MAX_BODY_BYTES)
            if length and (not length.isdigit() or int(length[:20]) > bound):
                response = problem_response(
                    _TOO_LARGE,
                    _LIMIT.format(bound),
                    instance=scope["path"],
                    headers={"Connection": "close"},
                )
                await response(scope, receive, answer)
            elif scope["method"] == "POST" and scope["path"] in self.posts:
                await serve(self.posts[scope["path"]], scope, _bounded(receive), answer)
            else:
                if scope["path"] not in self.bounds:
                    receive = _bounded(receive)
                await self.app(scope, receive, answer)
        finally:
            if scope["path"] not in self.quiet:
                self.log.add(
                    {
                        "method": scope["method"],
                        "path": scope["path"],
                        "status": status,
                        "ms": round((time.perf_counter() - started) * 1000, 1),
                        "request_id": state["request_id"],
                    }
                )


def _read_headers(scope: Scope) -> tuple[bytes, bytes]:
    """The request's id, its own or a new one, and what it says of its length."""
    given = length = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value
        elif name == b"content-length":
            length = value
    if not _REQUEST_ID.match(given):
        # Unique is enough; nothing rests on its being secret.
        given = b"%032x" % random.getrandbits(128)
    return given, length


def _bounded(receive: Receive) -> Receive:
    size = 0

    async def read() -> Message:
        nonlocal size
        message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                # Read inside the application, so its table of problems answers it.
                raise HTTPException(413, _LIMIT.format(MAX_BODY_BYTES))
        return message

    return read
