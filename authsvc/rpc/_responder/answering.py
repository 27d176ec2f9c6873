"""A service's handlers, by path and method, and what is answered to a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter_ns
from typing import TypeVar

from authsvc.rpc._loops.threads import Threads, in_thread
from authsvc.rpc._messages.logs import fields
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._messages.middleware import Middleware, layered
from authsvc.rpc._messages.trace import incoming, within
from authsvc.rpc._responder.app import problem
from authsvc.rpc._responder.cancelling import unbroken
from authsvc.rpc._responder.described import Described
from authsvc.rpc._responder.limits import limited
from authsvc.rpc._responder.reserved import answer_reserved
from authsvc.rpc._responder.router import Router, calling_frame, route_path
from authsvc.rpc._responder.routes import (
    Allow,
    Handler,
    Refused,
    Route,
    allow_rule,
    allowed,
    bind,
    route_methods,
)
from authsvc.rpc._responder.schema import SCHEMA_PATH, Schema
from authsvc.rpc._responder.statistics import SAMPLING, EndpointStats
from authsvc.rpc._responder.streaming import filled

__all__ = ["Answering"]

_log = logging.getLogger(__name__)
_H = TypeVar("_H", bound=Handler)
_M = TypeVar("_M", bound=Middleware)


class Answering(Described):
    """A service, as far as it takes a request and gives an answer.

    Args:
        name: The app's name.
        allow: Who may call.
        middleware: What stands around the handlers, the first outermost.
        publish_schema: Whether ``describe`` tells what there is to call.
        version: Of the app.
        description: Of the app.

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(
        self,
        name: str,
        *,
        allow: Allow,
        middleware: Iterable[Middleware],
        publish_schema: bool,
        version: str,
        description: str,
    ) -> None:
        super().__init__(name, version, description)
        self._middleware = tuple(middleware)
        self._layers = self._middleware
        self._allow = allow_rule(allow)
        self._schema = Schema(self.name)
        self._publish_schema = publish_schema

    def on_request(
        self,
        path: str,
        *,
        methods: str | Iterable[str] = ("POST",),
        allow: Allow = None,
        limit: int | None = None,
        cancellable: bool = True,
    ) -> Callable[[_H], _H]:
        """Register a handler.

        Args:
            path: Such as ``/ping``; compared as it is, without the query. What can't travel is
                percent-encoded, as ``call`` does.
            methods: The methods it answers.
            allow: Who may call it, in addition to the service's own ``allow``.
            limit: How many of its requests are handled at a time; more wait, and hold no other
                handler up.
            cancellable: Whether it is cancelled when its requester gives up. A plain function
                never is.

        Raises:
            ValueError: Path and method are taken, or are none.
            TypeError: A parameter asks for something that a request has not.
        """
        path = route_path(path)
        caller = calling_frame()

        def register(handler: _H) -> _H:
            route = bind(handler, dict(caller.f_locals), allow, self)
            route = self._bounded(route, limit, cancellable=cancellable)
            self._add(path, route_methods(methods), route)
            return handler

        return register

    def use(self, middleware: _M) -> _M:
        """Let it stand around every handler, inside what was given before.

        It gets the request and a callable that goes on, and returns a Response. It sees what the
        service refuses too, such as 403 and 404, and what a handler raises; stored requests as
        well as live ones.
        """
        self._middleware += (middleware,)
        self._layers += (middleware,)
        return middleware

    def include_router(self, router: Router, *, prefix: str = "") -> None:
        """Answer what a router collected, each path with the prefix before it.

        Args:
            router: The handlers. What is added to it later is not included.
            prefix: Such as ``/v1``.

        Raises:
            ValueError: Path and method are taken, or are none.
            TypeError: A parameter asks for something that a request has not.
        """
        for entry in router.entries:
            route = bind(entry.handler, entry.local_names, entry.allow, self)
            route = self._bounded(route, entry.limit, cancellable=entry.cancellable)
            self._add(route_path(prefix.rstrip("/") + entry.path), entry.methods, route)

    def _bounded(self, route: Route, limit: int | None, *, cancellable: bool) -> Route:
        call = route.call if cancellable else unbroken(route.call)
        return route._replace(call=call if limit is None else limited(call, limit, self.stats))

    def _add(self, path: str, methods: Iterable[str], route: Route) -> None:
        methods = tuple(methods)
        route = route._replace(stats=EndpointStats.of(route.handler, path, methods))
        known = self._routes.setdefault(path, {})
        for method in methods:
            if method in known:
                raise ValueError(f"{method} {path} has a handler already")
            known[method] = route

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
        methods = self._routes.get(request.path)
        if self._allow is not None and not await allowed(self._allow, request):
            return self._refuse()
        if methods is None:
            return await self._unrouted(request)
        route = methods.get(request.method)
        if route is None:
            return problem(405, "no such method", {"allow": ", ".join(sorted(methods))})
        if route.allow is not None and not await allowed(route.allow, request):
            return self._refuse()
        if request.streamed and not route.streams:
            await _fill(request)
        stats = route.stats
        stats.num_requests = count = stats.num_requests + 1
        if count & SAMPLING != 1:
            return await route.call(request, threads)
        started = perf_counter_ns()
        try:
            return await route.call(request, threads)
        finally:
            stats.took(perf_counter_ns() - started)

    async def _unrouted(self, request: Request) -> Response:
        if request.path == SCHEMA_PATH and self._publish_schema:
            return await self._describe(request)
        return answer_reserved(self, request) or problem(404, "no such path")

    async def _permits(self, request: Request) -> bool:
        """Whether ``allow=`` of the whole service lets this one in."""
        return self._allow is None or await allowed(self._allow, request)

    async def _describe(self, request: Request) -> Response:
        """What there is to call, as far as the requester may call it."""
        if request.method != "GET":
            return problem(405, "no such method", {"allow": "GET"})
        found: dict[int, tuple[str, list[str], Route]] = {}
        for path, methods in self._routes.items():
            for method, route in methods.items():
                if await _may_know(route, request):
                    found.setdefault(id(route), (path, [], route))[1].append(method)
        # The first time, pydantic may have to be imported, and large models be looked through.
        return Response(await in_thread(partial(self._schema.document, list(found.values()))))

    def _refuse(self) -> Response:
        self.stats.refused += 1
        return problem(403, "not allowed")

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


async def _fill(request: Request) -> None:
    """Wait for the whole body, which the handler asks for."""
    if not await filled(request):
        raise Refused(problem(413, "the body is too large"))


async def _may_know(route: Route, request: Request) -> bool:
    """Whether who asks for the description may call this handler."""
    try:
        return route.allow is None or await allowed(route.allow, request)
    except Exception:  # noqa: BLE001  it was made for requests of another path
        return False
