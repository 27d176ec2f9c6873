"""A client's middleware around requests whose bodies may travel in chunks."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import NamedTuple, NoReturn

from authsvc.rpc._messages.message import Headers, Response
from authsvc.rpc._messages.middleware import CallMiddleware, Outgoing, layered
from authsvc.rpc._streams.heads import Head
from authsvc.rpc._streams.requester import Opened
from authsvc.rpc._wire.frames import Pairs

__all__ = ["Layers", "StreamedResponse", "through"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1


class Layers(NamedTuple):
    """A client's middleware, the app of a peer that is called through it, and whether it signs."""

    middleware: Sequence[CallMiddleware]
    name: str
    app: str
    sign: bool = False

    def outgoing(
        self,
        method: str,
        target: str,
        pairs: Pairs,
        body: bytes | AsyncIterable[bytes],
        timeout: float,
    ) -> Outgoing:
        """The request as the middleware sees it."""
        whole = isinstance(body, bytes)
        return Outgoing(
            self.name,
            self.app,
            method,
            target,
            Headers.checked(pairs),
            body if isinstance(body, bytes) else b"",
            timeout,
            idempotent=whole and method in _SAFE,
            body=None if isinstance(body, bytes) else body,
            streamed=True,
        )


class StreamedResponse(Response):
    """A response whose body is still to come: status and headers, and no ``content`` yet.

    A client's middleware gets it where a body comes in chunks, and passes it on.
    """

    __slots__ = ("opened",)
    streamed = True

    def __init__(self, opened: Opened, head: Head) -> None:
        self.id = opened.id
        self.status = head.status
        self._headers = head.pairs
        self.opened = opened

    def __getattr__(self, name: str) -> NoReturn:
        if name == "content":
            raise AttributeError("the body comes piece by piece: only the caller reads it")
        raise AttributeError(name)

    def raise_for_status(self) -> Response:
        """This response; whoever reads its body raises."""
        return self

    def __repr__(self) -> str:
        return f"<StreamedResponse {self.status}>"


async def through(
    middleware: Sequence[CallMiddleware],
    call: Outgoing,
    send: Callable[[Outgoing], Awaitable[tuple[Opened, Head]]],
) -> tuple[Opened | None, Head]:
    """What ``send`` found, or the middleware in its place, and nothing else left open.

    Args:
        middleware: The client's, the first outermost.
        call: The request.
        send: Opens it; called as often as the middleware goes on.

    Raises:
        Exception: What the middleware or ``send`` raised.
    """
    begun: list[StreamedResponse] = []

    async def proceed(call: Outgoing) -> Response:
        opened, head = await send(call)
        if head.whole:
            return Response.received(opened.id, head.status, head.pairs, head.content)
        begun.append(StreamedResponse(opened, head))
        return begun[-1]

    kept: Response | None = None
    try:
        kept = await layered(middleware, proceed)(call)
    finally:
        for one in begun:
            if one is not kept:
                await one.opened.close()
    if isinstance(kept, StreamedResponse):
        return kept.opened, Head(kept.status, kept.pairs, b"", whole=False)
    return None, Head(kept.status, kept.pairs, kept.content, whole=True)
