"""One request on its way through an ASGI application.

Source: the ASGI specification, HTTP connection scope, spec version 2.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from authsvc.errors import Disconnected, PayloadTooLarge, RpcError
from authsvc.rpc._http.asgi_scope import (
    AsgiApp,
    CallHeaders,
    Message,
    http_scope,
    request_headers,
    response_headers,
)
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._wire.forwarding import has_body
from authsvc.rpc._wire.frames import Pairs

__all__ = ["Cycle"]

_MAX_HELD_BYTES = 64 << 20
# An application that streams learns by its next send that nobody takes it; after so long, it
# is cancelled.
_GRACE_SECONDS = 1.0


class Cycle:
    """One call of an application.

    Args:
        request: What came.
        state: What the application's lifespan left.
    """

    __slots__ = (
        "_bodiless",
        "_body_read",
        "_exchange",
        "_expected",
        "_held",
        "_held_bytes",
        "_left",
        "_over",
        "_pairs",
        "_received",
        "_refusal",
        "_request",
        "_scope",
        "_status",
        "_timer",
        "_waits",
        "on_response",
        "response",
    )

    def __init__(self, request: Request, state: dict[str, Any]) -> None:
        self._request = request
        self._exchange: Exchange | None = None
        if request.streamed:
            self._exchange = cast("StreamedRequest", request).exchange
        self._refusal: Response | None = None
        self._expected: int | None = None
        self._scope = http_scope(request, self._headers(request_headers(request.pairs)), state)
        self._received = 0
        self._body_read = False
        self._over = False
        self._waits: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._status = 0
        self._pairs: Pairs = ()
        self._left: int | None = None
        self._bodiless = False
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.response: Response | None = None
        self.on_response: Callable[[], None] | None = None

    def _headers(self, found: CallHeaders) -> Iterable[tuple[bytes, bytes]]:
        """The headers with a length that is true, or none where it is not known yet."""
        length: int | None = None
        if self._exchange is None or self._exchange.complete:
            if self._request.content or found.length is not None or found.wrong:
                length = len(self._request.content)
        elif found.wrong:
            self._refusal = Response({"detail": found.wrong}, status=400)
        else:
            length = self._expected = found.length
        if length is None:
            return found.raw
        return (*found.raw, (b"content-length", b"%d" % length))

    async def run(self, app: AsgiApp) -> Response:
        """Call the application; what it answered, sent already if its body comes in chunks.

        Raises:
            Exception: What the application raised.
        """
        if self._refusal is not None:
            return self._refusal
        if self._exchange is not None:
            self._exchange.on_gone = self._gone
        try:
            await app(self._scope, self._receive, self._send)
        except Exception:
            if (refusal := self._refused_meanwhile()) is not None:
                return refusal
            if self._exchange is not None and self._exchange.gone:
                return Response(status=499)
            raise
        finally:
            self._let_go()
        refusal = self._refused_meanwhile()
        if refusal is not None and not self._status:
            return refusal
        if self.response is None:
            if self._exchange is not None and self._exchange.gone:
                return Response(status=499)
            raise RuntimeError("the application returned before its response was complete")
        return self.response

    def _gone(self) -> None:
        """The requester gave up."""
        self._end_wait()
        if self._exchange is not None and self._status:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GRACE_SECONDS, self._exchange.stop)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.on_gone = None

    def _end_wait(self) -> None:
        """There is nothing more to be received."""
        self._over = True
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def _refused_meanwhile(self) -> Response | None:
        return self._refusal

    async def _receive(self) -> Message:
        if self._exchange is None:
            if not self._body_read:
                self._body_read = True
                return {"type": "http.request", "body": self._request.content, "more_body": False}
        elif not self._body_read:
            return await self._receive_piece(self._exchange)
        if not self._over:
            if self._waits is None:
                self._waits = asyncio.get_running_loop().create_future()
            await asyncio.wait({self._waits})
        return {"type": "http.disconnect"}

    async def _receive_piece(self, exchange: Exchange) -> Message:
        try:
            piece = await exchange.read()
        except PayloadTooLarge:
            return self._refuse(413, "the body is too large")
        except RpcError:
            self._body_read = True
            return {"type": "http.disconnect"}
        self._received += len(piece)
        more = not exchange.drained
        self._body_read = not more
        if self._expected is not None and (
            self._received > self._expected or (not more and self._received < self._expected)
        ):
            return self._refuse(400, "the body is not as long as content-length says")
        return {"type": "http.request", "body": piece, "more_body": more}

    def _refuse(self, status: int, detail: str) -> Message:
        self._body_read = True
        self._end_wait()
        self._refusal = Response({"detail": detail}, status=status)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._refusal is not None and not self._status:
            return  # what the application makes of a body that broke off is not the answer
        if self._exchange is not None and self._exchange.gone:
            raise OSError("the requester gave up")
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.body":
            await self._body(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Message) -> None:
        if self._status:
            raise RuntimeError("the application started its response twice")
        status = message["status"]
        self._bodiless = not has_body(self._request.method, status)
        raw = tuple(map(tuple, message.get("headers", ())))
        self._pairs, self._left = response_headers(raw, body=not self._bodiless)
        self._status = status

    async def _body(self, body: bytes, *, more: bool) -> None:
        if not self._status:
            raise RuntimeError("the application sent a body before its response was started")
        if self.response is not None:
            if not self._bodiless:
                raise RuntimeError("the application sent more than its response")
            return
        if self._bodiless:
            await self._end(b"")
            return
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError(
                    "the application's response is not as long as content-length says"
                )
        if self._exchange is None:
            await self._hold(body, more=more)
        elif self._exchange.begun:
            await self._write(self._exchange, body, more=more)
        elif more:
            await self._begin(self._exchange, body)
        else:
            await self._end(bytes(body))

    async def _hold(self, body: bytes, *, more: bool) -> None:
        self._held.append(bytes(body))
        self._held_bytes += len(body)
        if self._held_bytes > _MAX_HELD_BYTES:
            raise RuntimeError("the response is larger than can be sent at once")
        if not more:
            await self._end(b"".join(self._held))

    async def _begin(self, exchange: Exchange, body: bytes) -> None:
        try:
            await exchange.start(self._status, self._pairs, bytes(body))
        except Disconnected as error:
            raise OSError(str(error)) from error

    async def _write(self, exchange: Exchange, body: bytes, *, more: bool) -> None:
        try:
            await exchange.write(bytes(body), last=not more)
        except Disconnected as error:
            raise OSError(str(error)) from error
        if not more:
            self._done(Response.received("", self._status, self._pairs, b""))

    async def _end(self, content: bytes) -> None:
        response = Response.received("", self._status, self._pairs, content)
        if self._exchange is not None:
            try:
                # At once: the application may go on with what it does in the background.
                await self._exchange.reply(response)
            except Disconnected as error:
                raise OSError(str(error)) from error
        self._done(response)

    def _done(self, response: Response) -> None:
        self._end_wait()
        self.response = response
        if self.on_response is not None:
            self.on_response()
