"""httpx transports: an HTTP client's requests, carried by NATS."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import NoReturn

import httpx

from authsvc.errors import (
    DeadlineExceeded,
    Disconnected,
    InvalidInput,
    NoResponder,
    NotAuthenticated,
    PayloadTooLarge,
    PermissionDenied,
    RpcError,
)
from authsvc.rpc._calls.calls import Calls
from authsvc.rpc._messages.middleware import Outgoing
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.heads import DAY, Broken, Head, Timeouts, WriteTimedOut
from authsvc.rpc._streams.layers import Layers, through
from authsvc.rpc._streams.opening import ConnectTimedOut, Pieces, open_stream
from authsvc.rpc._streams.requester import Opened
from authsvc.rpc._streams.whole import EXTENSIONS, WholeBody, WholeResponse
from authsvc.rpc._wire.flow import MAX_BODY_BYTES, WHOLE_BYTES
from authsvc.rpc._wire.forwarding import content_length, end_to_end, has_body
from authsvc.rpc._wire.frames import Pairs, header_pairs

__all__ = ["AsyncTransport"]


class AsyncTransport(httpx.AsyncBaseTransport):
    """Carries the requests of an ``httpx.AsyncClient`` to one app of one user.

    Host and port of the URL lead nowhere: the peer is the one that the transport was made for,
    by ``Peer.transport``. Closing it leaves the client connected. Errors are httpx's own, each
    with the RpcError that it comes from as its cause.

    Args:
        live: Session and calls of the client.
        subject: The subject of requests to the peer.
        layers: The client's middleware, if it has any.
        sign: Whether requests are signed by the user's nkey.
        max_body: Bytes of a response's body, at most.
    """

    def __init__(
        self,
        live: Callable[[], tuple[Session, Calls]],
        subject: str,
        *,
        layers: Layers | None = None,
        sign: bool = False,
        max_body: int = MAX_BODY_BYTES,
    ) -> None:
        self._live = live
        self._subject = subject
        self._layers = layers
        self._sign = sign
        self._max_body = max_body

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its response is there when the head is.

        Raises:
            httpx.TransportError: The error that httpx has for what went wrong.
        """
        if not isinstance(request.stream, httpx.AsyncByteStream):
            raise TypeError("an AsyncClient needs a body that can be read in async code")
        return await self.carry(request, request.stream)

    async def carry(self, request: httpx.Request, stream: AsyncIterable[bytes]) -> httpx.Response:
        """``handle_async_request`` with a body from elsewhere.

        Args:
            request: The request.
            stream: Its body.

        Raises:
            httpx.TransportError: What httpx has for what went wrong.
        """
        if request.url.scheme not in {"http", "https"}:
            raise httpx.UnsupportedProtocol(
                "the URL begins with http:// or https://", request=request
            )
        limits = request.extensions.get("timeout", {})
        timeouts = Timeouts(limits.get("connect"), limits.get("read"), limits.get("write"))
        try:
            session, calls = self._live()
        except Disconnected as error:
            raise httpx.ConnectError(str(error), request=request) from error
        try:
            pairs, length = _pairs(tuple(request.headers.raw))
        except ValueError as error:
            raise httpx.LocalProtocolError(str(error), request=request) from error
        body = _whole(stream, length)
        if self._layers is not None:
            found = body if body is not None else await _pieces(stream, length)
            return await self._through(self._layers, request, pairs, found, timeouts)
        try:
            opened, head = await open_stream(
                session,
                calls,
                self._subject,
                method=request.method,
                target=request.url.raw_path.decode("ascii"),
                pairs=pairs,
                body=body if body is not None else await _pieces(stream, length),
                timeouts=timeouts,
                limit=self._max_body,
                sign=self._sign,
            )
        except (RpcError, InvalidInput) as error:
            _raise_as_httpx(error, request)
        return _response(request, opened, head, timeouts.read)

    async def _through(
        self,
        layers: Layers,
        request: httpx.Request,
        pairs: Pairs,
        body: Pieces,
        timeouts: Timeouts,
    ) -> httpx.Response:
        """``carry``, through the client's middleware."""
        waits = timeouts.read if timeouts.read is not None else DAY

        async def send(call: Outgoing) -> tuple[Opened, Head]:
            session, calls = self._live()
            return await open_stream(
                session,
                calls,
                self._subject,
                method=call.method,
                target=call.target,
                pairs=call.headers.pairs,
                body=call.content if call.body is None else aiter(call.body),
                timeouts=timeouts
                if call.timeout == waits
                else timeouts._replace(read=call.timeout),
                limit=self._max_body,
                sign=self._sign,
            )

        target = request.url.raw_path.decode("ascii")
        call = layers.outgoing(request.method, target, pairs, body, waits)
        try:
            opened, head = await through(layers.middleware, call, send)
        except (RpcError, InvalidInput) as error:
            _raise_as_httpx(error, request)
        return _response(request, opened, head, timeouts.read)


@lru_cache(1024)
def _pairs(raw: tuple[tuple[bytes, bytes], ...]) -> tuple[Pairs, int | None]:
    """A request's headers as they travel, and the length of its body.

    Raises:
        InvalidMessage: A header can't travel.
        ValueError: The length is none.
    """
    decoded = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in raw)
    pairs = end_to_end(header_pairs(decoded))
    return pairs, content_length(pairs)


@lru_cache(1024)
def _headers(pairs: Pairs) -> tuple[httpx.Headers, bool]:
    """A response's headers for httpx, which copies them, and whether they say of a compression."""
    raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in end_to_end(pairs)]
    headers = httpx.Headers(raw)
    return headers, "content-encoding" in headers


def _response(
    request: httpx.Request, opened: Opened | None, head: Head, timeout: float | None
) -> httpx.Response:
    bodiless = not has_body(request.method, head.status)
    headers, compressed = _headers(head.pairs)
    if head.whole or opened is None:
        content = b"" if bodiless else head.content
        response: httpx.Response
        if not compressed:
            response = WholeResponse.of(head.status, headers, content)
        else:
            response = _piecewise(head, headers, WholeBody(content))
    else:
        length = _declared(request, head, bodiless=bodiless)
        response = _piecewise(head, headers, ResponseBody(request, opened, length, timeout))
    response.headers.encoding = headers.encoding  # which a copy looks for anew
    return response


def _piecewise(head: Head, headers: httpx.Headers, stream: httpx.AsyncByteStream) -> httpx.Response:
    return httpx.Response(head.status, headers=headers, stream=stream, extensions=EXTENSIONS)


def _whole(stream: AsyncIterable[bytes], length: int | None) -> bytes | None:
    """A body that is here; None if it is made piece by piece."""
    if not isinstance(stream, httpx.ByteStream):
        return None
    # Not by `async for`: an async generator costs as much as all the rest of this.
    body = b"".join(stream)
    if length is not None and len(body) != length:
        raise httpx.LocalProtocolError("the body is not as long as content-length says")
    return body


async def _pieces(stream: AsyncIterable[bytes], length: int | None) -> bytes | AsyncIterator[bytes]:
    """A body that fits one message and has all its bytes is one; another comes in pieces."""
    if length is not None and length <= WHOLE_BYTES:
        return b"".join([piece async for piece in _counted(stream, length)])
    return _counted(stream, length)


async def _counted(stream: AsyncIterable[bytes], length: int | None) -> AsyncIterator[bytes]:
    sent = 0
    async for piece in stream:
        sent += len(piece)
        if length is not None and sent > length:
            raise httpx.LocalProtocolError("the body is longer than content-length says")
        if piece:
            yield piece
    if length is not None and sent < length:
        raise httpx.LocalProtocolError("the body is shorter than content-length says")


def _declared(request: httpx.Request, head: Head, *, bodiless: bool) -> int | None:
    if bodiless:
        return 0
    try:
        return content_length(head.pairs)
    except ValueError as error:
        raise httpx.RemoteProtocolError(str(error), request=request) from error


class ResponseBody(httpx.AsyncByteStream):
    """A response's body in chunks."""

    def __init__(
        self, request: httpx.Request, opened: Opened, length: int | None, timeout: float | None
    ) -> None:
        self._request = request
        self._opened = opened
        self._length = length
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        with _as_httpx(self._request):
            while piece := await self._opened.read(self._timeout):
                size += len(piece)
                if self._length is not None and size > self._length:
                    break
                yield piece
        if self._length is not None and size != self._length:
            raise httpx.RemoteProtocolError(
                "the body is not as long as content-length says", request=self._request
            )

    async def aclose(self) -> None:
        """Let go of what has not come yet."""
        await self._opened.close()


@contextmanager
def _as_httpx(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except (RpcError, InvalidInput) as error:
        _raise_as_httpx(error, request)


_TRANSLATED: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (NoResponder, httpx.ConnectError),
    (ConnectTimedOut, httpx.ConnectTimeout),
    (WriteTimedOut, httpx.WriteTimeout),
    (DeadlineExceeded, httpx.ReadTimeout),
    (PermissionDenied, httpx.ConnectError),
    (NotAuthenticated, httpx.ConnectError),
    (PayloadTooLarge, httpx.ReadError),
    (Broken, httpx.RemoteProtocolError),
    (Disconnected, httpx.ReadError),
    (InvalidInput, httpx.LocalProtocolError),
    # The responder broke off a response that had begun.
    (RpcError, httpx.RemoteProtocolError),
)


def _raise_as_httpx(error: Exception, request: httpx.Request) -> NoReturn:
    """Raise the error that httpx has for one of ours."""
    for ours, theirs in _TRANSLATED:
        if isinstance(error, ours):
            raise theirs(str(error), request=request) from error
    raise error
