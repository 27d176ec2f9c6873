"""The reverse bridge: an HTTP app in any language, on NATS."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, cast

import httpx

from authsvc.errors import Disconnected, InvalidInput, PayloadTooLarge, RpcError
from authsvc.rpc._http.bridge_rules import Rules, is_ambiguous
from authsvc.rpc._http.in_step import keep_in_step
from authsvc.rpc._http.openapi import asking, described
from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._responder.app import problem
from authsvc.rpc._responder.reserved import PREFIX, answer_reserved
from authsvc.rpc._responder.routes import Allow, Route
from authsvc.rpc._responder.schema import SCHEMA_PATH
from authsvc.rpc._service import Service
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._wire.flow import MAX_BODY_BYTES, WHOLE_BYTES
from authsvc.rpc._wire.forwarding import (
    REQUEST_ID,
    USER,
    caller_value,
    content_length,
    end_to_end,
    has_body,
    is_callers,
    plain_name,
)
from authsvc.rpc._wire.frames import Pairs, header_pairs

__all__ = ["BridgeService"]

_log = logging.getLogger(__name__)
_CONNECT_SECONDS, _HELD_BYTES = 5.0, 64 << 20
_SERVERS_FAULT = 500
_FINAL, _LAST = 200, 599
# By these, servers behind proxies let clients say who they are, or what they really ask for.
_BELIEVED = re.compile(
    r"forwarded|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip|x-original-(?:url|uri|host)"
    r"|x-rewrite-url|x-http-method(?:-override)?|x-method-override|x-host|proxy"
)
# Ours to say: where it goes and how long it is.
_OWN = {"host", "content-length", "expect"}


class BridgeService(Service):
    """Hands each request to an HTTP server, always the same, and its answer back.

    The server sees who calls as ``x-syft-user`` and the request's id as ``x-syft-request-id``.
    It should listen where only this machine reaches it: whoever reaches it otherwise is whoever
    they like.

    Args:
        name: The app's name, 1 to 64 bytes.
        target: The server, such as ``http://127.0.0.1:9000``, perhaps with a path before all.
        allow: Who may call, as for Service.
        paths: Rules of what may be called, such as ``GET /items/*``; everything if empty.
        denied: Rules of what may not be called.
        concurrency: How many requests are handled at a time; more wait.
        timeout: Seconds until 504: for the answer to begin, and for each further piece.
        max_body: Bytes of a request's body, at most; 413 above.
        on_ready: Called, async or not, when requests can come.
        openapi: Where the server answers its OpenAPI document, from which the app is described,
            as far as the rules let it be called; the rules need not name this path.

    Raises:
        InvalidInput: The target is no URL of a server, or a rule is none.
    """

    def __init__(
        self,
        name: str,
        target: str,
        *,
        allow: Allow = None,
        paths: Iterable[str] = (),
        denied: Iterable[str] = (),
        concurrency: int = 64,
        timeout: float = 60.0,
        max_body: int = MAX_BODY_BYTES,
        on_ready: Callable[[], Any] | None = None,
        openapi: str | None = None,
    ) -> None:
        super().__init__(name, allow=allow, concurrency=concurrency, on_ready=on_ready)
        if openapi is not None and (not openapi.startswith("/") or is_ambiguous(openapi)):
            raise InvalidInput("the OpenAPI document is at a path, such as /openapi.json")
        self._openapi = openapi
        self.max_body = max_body
        self._target = _target(target)
        self._rules = Rules(paths, denied)
        self._timeout = timeout
        self._http: httpx.AsyncHTTPTransport | None = None
        self._reuse = True

    async def serve(
        self, client: AsyncClient, *, on_ready: Callable[[], Any] | None = None
    ) -> None:
        """Answer requests; see Service.serve."""
        # The bare transport: no cookies kept between callers, no redirects followed, no proxy.
        # Servers close what is idle, many after 5 s; ours goes first.
        limits = httpx.Limits(
            max_connections=self._concurrency,
            max_keepalive_connections=self._concurrency,
            keepalive_expiry=3.0,
        )
        async with httpx.AsyncHTTPTransport(trust_env=False, limits=limits, retries=1) as http:
            self._http = http
            await super().serve(client, on_ready=on_ready)

    def _add(self, path: str, methods: Iterable[str], route: Route) -> None:  # noqa: ARG002
        raise TypeError(f"{path}: the HTTP server has the handlers; make a Service beside it")

    async def _dispatch(self, request: Request, threads: Threads) -> Response:  # noqa: ARG002
        if not await self._permits(request):
            return self._refuse()
        if request.target.startswith(PREFIX):
            return await self._own(request)
        if is_ambiguous(request.path):
            return problem(400, "servers may read this path in different ways")
        if not self._rules.permits(request.method, request.path):
            return self._refuse()
        exchange = cast("StreamedRequest", request).exchange if request.streamed else None
        return await self._fetch(request, exchange)

    async def _own(self, request: Request) -> Response:
        """The library's answer, to what no server is asked."""
        if request.path != SCHEMA_PATH:
            return answer_reserved(self, request) or problem(404, "no such path")
        if request.method != "GET":
            return problem(405, "no such method", {"allow": "GET"})
        if self._openapi is None:
            return problem(404, "the app does not describe itself")
        answer = await self._fetch(asking(request, self._openapi), None)
        return described(self.name, answer, self._rules.permits)

    async def _fetch(self, request: Request, exchange: Exchange | None) -> Response:
        """What the server answers, or why it does not."""
        try:
            return await self._forward(request, self._asked(request, exchange), exchange)
        except tuple(_ANSWERS) as error:
            if exchange is not None and exchange.gone:
                return problem(499, "the requester gave up")
            status, detail = next(_ANSWERS[kind] for kind in _ANSWERS if isinstance(error, kind))
            if status >= _SERVERS_FAULT:
                _log.warning("the server behind the bridge: %s", type(error).__name__)
            return problem(status, detail)

    def _asked(self, request: Request, exchange: Exchange | None) -> httpx.Request:
        """The request as it goes to the server."""
        pairs = end_to_end(request.pairs)
        headers = [
            (name, value)
            for name, value in pairs
            if not is_callers(name)
            and name not in _OWN
            and not _BELIEVED.fullmatch(plain_name(name))
        ]
        headers += [
            ("host", self._target.netloc.decode("ascii")),
            (USER, caller_value(request.requester)),
            (REQUEST_ID, request.id),
            *([] if self._reuse else [("connection", "close")]),
        ]
        content: bytes | AsyncIterator[bytes] = request.content
        if exchange is not None and not exchange.complete:
            length = content_length(pairs)
            content = _pieces(cast("StreamedRequest", request), length)
            headers.append(
                ("transfer-encoding", "chunked")
                if length is None
                else ("content-length", str(length))
            )
        elif request.content or any(name == "content-length" for name, _ in pairs):
            headers.append(("content-length", str(len(request.content))))
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        path = self._target.raw_path.rstrip(b"/") + request.target.encode("ascii")
        found = httpx.Request(
            request.method,
            self._target.copy_with(raw_path=path),
            headers=raw,
            content=content or None,
        )
        # httpx adds what it finds missing; the server gets what was asked for and no more.
        found.headers = httpx.Headers(raw)
        found.extensions = {"timeout": self._timeouts()}
        return found

    def _timeouts(self) -> dict[str, float]:
        patience = dict.fromkeys(("read", "write", "pool"), self._timeout)
        return {"connect": min(_CONNECT_SECONDS, self._timeout)} | patience

    async def _forward(
        self, request: Request, asked: httpx.Request, exchange: Exchange | None
    ) -> Response:
        if self._http is None:
            raise Disconnected("the bridge is not being served")
        response = await self._http.handle_async_request(asked)
        async with contextlib.aclosing(response):
            try:
                pairs = self._answered(response)
                length = content_length(pairs)
            except ValueError as error:
                raise httpx.RemoteProtocolError("its headers can't travel") from error
            if not _FINAL <= response.status_code <= _LAST:
                raise httpx.RemoteProtocolError("its status is none")
            if not has_body(request.method, response.status_code):
                return Response(status=response.status_code, headers=pairs)
            pieces = self._read(response)
            if exchange is None or (length is not None and length <= WHOLE_BYTES):
                content = await _held(pieces)
                return Response(content, status=response.status_code, headers=pairs)
            try:
                await exchange.start(response.status_code, pairs)
                async for piece in pieces:
                    await exchange.write(piece)
                await exchange.write(b"", last=True)
            except (httpx.TransportError, RpcError) as error:
                # It has begun already: the requester learns of a response that broke off.
                _log.info("a response broke off: %s", type(error).__name__)
            return Response(status=response.status_code)

    async def _read(self, response: httpx.Response) -> AsyncIterator[bytes]:
        # Not by aiter_raw, which closes the response before anybody can look at the connection.
        async for piece in cast("AsyncIterator[bytes]", response.stream):
            yield piece
        if not keep_in_step(response) and self._reuse:
            self._reuse = False
            _log.warning("connections to the server are used once: this httpcore is not known")

    def _answered(self, response: httpx.Response) -> Pairs:
        pairs = header_pairs(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in response.headers.raw
        )
        # A redirect to itself leads the requester back here, and not to its own machine.
        origin = f"{self._target.scheme}://{self._target.netloc.decode('ascii')}"
        return tuple(
            (name, value[len(origin) :] or "/")
            if name == "location" and re.match(re.escape(origin) + r"(?:/|\Z)", value)
            else (name, value)
            for name, value in end_to_end(pairs)
        )


class _WrongLength(ValueError):
    """The body is not as long as it was said to be."""


_ANSWERS: dict[type[Exception], tuple[int, str]] = {
    httpx.TimeoutException: (504, "the server behind the bridge did not answer in time"),
    httpx.TransportError: (502, "the server behind the bridge can't be reached"),
    httpx.InvalidURL: (400, "the path is none"),
    PayloadTooLarge: (413, "the body is too large"),
    Disconnected: (499, "the requester gave up"),
    # Of the length, one way or the other.
    ValueError: (400, "the body is not as long as content-length says, or that is no number"),
}


async def _pieces(request: StreamedRequest, length: int | None) -> AsyncIterator[bytes]:
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if length is not None and size > length:
            raise _WrongLength
        yield piece
    if length is not None and size < length:
        raise _WrongLength


async def _held(pieces: AsyncIterator[bytes]) -> bytes:
    found, size = [], 0
    async for piece in pieces:
        found.append(piece)
        size += len(piece)
        if size > _HELD_BYTES:
            raise httpx.ReadError("the answer is larger than can be sent at once")
    return b"".join(found)


def _target(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InvalidInput("the target is no URL, such as http://127.0.0.1:9000") from error
    if url.scheme not in {"http", "https"} or not url.host or url.query or url.fragment:
        raise InvalidInput("the target is a server, such as http://127.0.0.1:9000")
    if url.userinfo:
        raise InvalidInput("the target has no user or password; let the server take no password")
    return url
