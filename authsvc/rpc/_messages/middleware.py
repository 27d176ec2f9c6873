"""What stands around handlers and around calls.

    async def timed(request: Request, proceed: Proceed) -> Response:
        response = await proceed(request)
        return response

    Service("app", middleware=[timed])

The first of a list is the outermost.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from authsvc.rpc._messages.message import Headers, HeaderTypes, Request, Response

__all__ = ["CallMiddleware", "Middleware", "Outgoing", "Proceed", "ProceedCall", "layered"]


class Proceed(Protocol):
    """Goes on to the next middleware of a service, and in the end to the handler."""

    def __call__(self, request: Request, /) -> Awaitable[Response]:
        """The answer; raises what the handler raises."""


class Middleware(Protocol):
    """Stands around the handlers of a service: ``async def``, or an object that is called so."""

    def __call__(self, request: Request, proceed: Proceed, /) -> Awaitable[Response]:
        """The answer, by going on or by itself."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A call that is about to be sent, as a client's middleware sees it.

    Args:
        name: Whose app is called.
        app: The app.
        method: The method, in upper case.
        target: Path and query.
        headers: The headers, ``content-type`` included.
        content: The body.
        timeout: Seconds that are left for it.
        idempotent: Whether it may be sent again.
        expires: Seconds until a request that is stored is not handled any more; None for a live
            call. To go on is to store it: the answer then is an empty 202.
        body: The body where it is made piece by piece, and can be sent once only; ``content`` is
            empty then.
        streamed: Whether the answer may come in chunks: then it has ``streamed`` set, status and
            headers, and no content yet.
    """

    name: str
    app: str
    method: str
    target: str
    headers: Headers
    content: bytes
    timeout: float
    idempotent: bool
    expires: float | None = None
    body: AsyncIterable[bytes] | None = None
    streamed: bool = False

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def changed(self, **members: Any) -> Outgoing:
        """The same call with other members."""
        return replace(self, **members)

    def with_headers(self, headers: HeaderTypes) -> Outgoing:
        """The same call with these headers instead of any of the same names.

        Raises:
            InvalidMessage: A name or value can't travel.
        """
        added = Headers(headers)
        kept = [pair for pair in self.headers.pairs if pair[0] not in added]
        return replace(self, headers=Headers([*kept, *added.pairs]))


class ProceedCall(Protocol):
    """Goes on to the next middleware of a client, and in the end sends the call."""

    def __call__(self, call: Outgoing, /) -> Awaitable[Response]:
        """The answer; raises what a call raises."""


class CallMiddleware(Protocol):
    """Stands around the calls of a client: ``async def``, or an object that is called so."""

    def __call__(self, call: Outgoing, proceed: ProceedCall, /) -> Awaitable[Response]:
        """The answer, by going on or by itself."""


_T = TypeVar("_T")


def layered(
    layers: Sequence[Callable[[_T, Callable[[_T], Awaitable[Response]]], Awaitable[Response]]],
    innermost: Callable[[_T], Awaitable[Response]],
) -> Callable[[_T], Awaitable[Response]]:
    """One callable of several, the first outermost."""
    proceed = innermost
    for layer in reversed(layers):
        proceed = _layer(layer, proceed)
    return proceed


def _layer(
    layer: Callable[[_T, Callable[[_T], Awaitable[Response]]], Awaitable[Response]],
    proceed: Callable[[_T], Awaitable[Response]],
) -> Callable[[_T], Awaitable[Response]]:
    async def run(message: _T) -> Response:
        response: Any = await layer(message, proceed)
        if not isinstance(response, Response):
            name = getattr(layer, "__name__", type(layer).__name__)
            raise TypeError(f"the middleware {name} returned {type(response)}, not a Response")
        return response

    return run
