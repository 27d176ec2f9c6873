"""From a request to its answer: trace context, middleware, and what a handler raises."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from authsvc.rpc._described import Described
from authsvc.rpc._logs import fields
from authsvc.rpc._messages import Request, Response
from authsvc.rpc._middleware import Middleware, layered
from authsvc.rpc._routes import Refused
from authsvc.rpc._serving import problem
from authsvc.rpc._threads import Threads
from authsvc.rpc._trace import incoming, within

__all__ = ["Responding"]

_log = logging.getLogger(__name__)
_M = TypeVar("_M", bound=Middleware)


class Responding(Described):
    """What stands around the handlers of a service.

    Args:
        name: The app's name.
        version: Of the app.
        description: Of the app.
        middleware: The first is the outermost.

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(
        self, name: str, version: str, description: str, middleware: Iterable[Middleware]
    ) -> None:
        super().__init__(name, version, description)
        self._middleware = tuple(middleware)
        # The same, and what the library puts around it while it is served.
        self._layers = self._middleware

    def use(self, middleware: _M) -> _M:
        """Let it stand around every handler, inside what was given before.

        It gets the request and a callable that goes on, and returns a Response. It sees what the
        service refuses too, such as 403 and 404, and what a handler raises; stored requests as
        well as live ones.
        """
        self._middleware += (middleware,)
        self._layers += (middleware,)
        return middleware

    async def respond(self, request: Request, threads: Threads) -> Response:
        """What the service answers to a request; never raises but CancelledError."""
        try:
            # Most requests have no headers, or few: the property would cost more than the look.
            if request._headers and (trace := incoming(request.pairs)) is not None:  # noqa: SLF001
                with within(trace):
                    return await self._respond(request, threads)
            if not self._layers:
                return await self._dispatch(request, threads)
            return await self._respond(request, threads)
        except Refused as refusal:
            return refusal.response
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001  SystemExit too: one request does not end the app
            return self.failed(request)

    async def _respond(self, request: Request, threads: Threads) -> Response:
        """The answer, through the middleware; raises what the handler raises."""
        return await layered(self._layers, partial(self._settle, threads))(request)

    async def _settle(self, threads: Threads, request: Request) -> Response:
        try:
            return await self._dispatch(request, threads)
        except Refused as refusal:
            return refusal.response

    async def _dispatch(self, request: Request, threads: Threads) -> Response:
        """The answer of whoever handles it."""
        raise NotImplementedError

    def failed(self, request: Request) -> Response:
        """The answer for a handler that raised; logs the exception that is being handled."""
        self.stats.errors += 1
        if (route := self._routes.get(request.path, {}).get(request.method)) is not None:
            route.stats.num_errors += 1
        # The exception's text stays here: it may hold what the requester must not see.
        _log.exception(
            "the handler of %s %s failed", request.method, request.path, extra=fields(request)
        )
        return problem(500, "the responder failed")
