"""One request on its way through an ASGI application.

Source: the ASGI specification, HTTP connection scope, spec version 2.4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast
from urllib.parse import unquote

from authsvc import subjects
from authsvc.errors import Disconnected, PayloadTooLarge, RpcError
from authsvc.rpc._exchange import Exchange, StreamedRequest
from authsvc.rpc._forwarding import (
    REQUEST_ID,
    USER,
    caller_value,
    content_length,
    end_to_end,
    has_body,
    is_callers,
)
from authsvc.rpc._messages import Request, Response
from authsvc.rpc._wire import Pairs, header_pairs

__all__ = ["AsgiApp", "Cycle", "http_scope"]

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]

_MAX_HELD_BYTES = 64 << 20


def http_scope(request: Request, pairs: Pairs, state: dict[str, Any]) -> dict[str, Any]:
    """What an application learns about a request.

    Args:
        request: The request.
        pairs: Its headers, without those that go no further.
        state: What the application's lifespan left.
    """
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs]
    headers.append((USER.encode(), caller_value(request.requester).encode("ascii")))
    headers.append((REQUEST_ID.encode(), request.id.encode("ascii")))
    path, _, query = request.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": headers,
        # Never an address, so nobody is taken for somebody on this machine.
        "client": (subjects.token(request.requester), 0),
        "server": None,
        "state": state.copy(),
        "extensions": {
            "authsvc": {"requester": request.requester, "app": request.app, "id": request.id}
        },
    }


class Cycle:
    """One call of an application.

    Args:
        request: What came.
        state: What the application's lifespan left.
    """

    def __init__(self, request: Request, state: dict[str, Any]) -> None:
        self._request = request
        self._exchange: Exchange | None = None
        if request.streamed:
            self._exchange = cast("StreamedRequest", request).exchange
        pairs = tuple(pair for pair in end_to_end(request.pairs) if not is_callers(pair[0]))
        self._refusal: Response | None = None
        self._expected = self._length(pairs)
        self._scope = http_scope(request, self._framed(pairs), state)
        self._received = 0
        self._body_read = False
        self._over = asyncio.Event()
        self._status = 0
        self._pairs: Pairs = ()
        self._left: int | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def _length(self, pairs: Pairs) -> int | None:
        if self._exchange is None or self._exchange.complete:
            return None
        try:
            return content_length(pairs)
        except ValueError as error:
            self._refusal = Response({"detail": str(error)}, status=400)
            return None

    def _framed(self, pairs: Pairs) -> Pairs:
        """The headers with a length that is true, or none where it is not known yet."""
        if self._exchange is not None and not self._exchange.complete:
            return pairs
        bare = tuple(pair for pair in pairs if pair[0] != "content-length")
        content = self._request.content
        if not content and len(bare) == len(pairs):
            return bare
        return (*bare, ("content-length", str(len(content))))

    async def run(self, app: AsgiApp) -> Response:
        """Call the application; what it answered, sent already if its body comes in chunks.

        Raises:
            Exception: What the application raised.
        """
        if self._refusal is not None:
            return self._refusal
        if self._exchange is not None:
            self._exchange.on_gone = self._over.set
        try:
            await app(self._scope, self._receive, self._send)
        except Exception:
            if (refusal := self._refused_meanwhile()) is not None:
                return refusal
            if self._exchange is not None and self._exchange.gone:
                return Response(status=499)
            raise
        refusal = self._refused_meanwhile()
        if refusal is not None and not self._status:
            return refusal
        if not self.response.done():
            if self._exchange is not None and self._exchange.gone:
                return Response(status=499)
            raise RuntimeError("the application returned before its response was complete")
        return self.response.result()

    def _refused_meanwhile(self) -> Response | None:
        return self._refusal

    async def _receive(self) -> Message:
        if self._exchange is None:
            if not self._body_read:
                self._body_read = True
                return {"type": "http.request", "body": self._request.content, "more_body": False}
        elif not self._body_read:
            return await self._receive_piece(self._exchange)
        await self._over.wait()
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
        self._over.set()
        self._refusal = Response({"detail": detail}, status=status)
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if self._exchange is not None and self._exchange.gone:
            raise OSError("the requester gave up")
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.body":
            await self._body(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Message) -> None:
        if self._status:
            raise RuntimeError("the application started its response twice")
        self._pairs = end_to_end(
            header_pairs(
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            )
        )
        self._status = message["status"]
        if has_body(self._request.method, self._status):
            self._left = content_length(self._pairs)

    async def _body(self, body: bytes, *, more: bool) -> None:
        if not self._status:
            raise RuntimeError("the application sent a body before its response was started")
        if self.response.done():
            if has_body(self._request.method, self._status):
                raise RuntimeError("the application sent more than its response")
            return
        if not has_body(self._request.method, self._status):
            await self._end(b"")
            return
        self._count(len(body), more=more)
        if self._exchange is None:
            await self._hold(body, more=more)
        elif self._exchange.begun:
            await self._write(self._exchange, body, more=more)
        elif more:
            await self._begin(self._exchange, body)
        else:
            await self._end(bytes(body))

    def _count(self, size: int, *, more: bool) -> None:
        if self._left is None:
            return
        self._left -= size
        if self._left < 0 or (not more and self._left):
            raise RuntimeError("the application's response is not as long as content-length says")

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
        self._over.set()
        self.response.set_result(response)
