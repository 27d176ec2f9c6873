"""What stands around handlers and around calls.

    async def timed(request: Request, proceed: Proceed) -> Response:
        response = await proceed(request)
        return response

    Service("app", middleware=[timed])

The first of a list is the outermost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from authsvc.rpc._messages import Headers, HeaderTypes, Request, Response

__all__ = ["CallMiddleware", "Middleware", "Outgoing", "Proceed", "ProceedCall", "layered"]

Proceed = Callable[[Request], Awaitable[Response]]
"""Goes on to the next middleware and in the end to the handler."""

Middleware = Callable[[Request, Proceed], Awaitable[Response]]
"""Stands around the handlers of a service."""


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
    """

    name: str
    app: str
    method: str
    target: str
    headers: Headers
    content: bytes
    timeout: float
    idempotent: bool

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


ProceedCall = Callable[[Outgoing], Awaitable[Response]]
"""Goes on to the next middleware and in the end sends the call."""

CallMiddleware = Callable[[Outgoing, ProceedCall], Awaitable[Response]]
"""Stands around the calls of a client."""

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
