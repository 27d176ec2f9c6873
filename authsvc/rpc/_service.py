"""Service: an app that answers others."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any, TypeVar

from authsvc.errors import Disconnected
from authsvc.rpc._cancelling import unbroken
from authsvc.rpc._client import AsyncClient
from authsvc.rpc._discovery import Discovery
from authsvc.rpc._limits import limited
from authsvc.rpc._messages import Request, Response, travelling
from authsvc.rpc._middleware import Middleware
from authsvc.rpc._reserved import PREFIX, answer_reserved, is_reserved
from authsvc.rpc._responding import Responding
from authsvc.rpc._routes import (
    Allow,
    Handler,
    Route,
    allow_rule,
    allowed,
    bind,
    route_methods,
)
from authsvc.rpc._running import run_until_told
from authsvc.rpc._serving import Serving, problem
from authsvc.rpc._signed import signed_only
from authsvc.rpc._statistics import SAMPLING, EndpointStats
from authsvc.rpc._threads import Threads

__all__ = ["Service"]

_log = logging.getLogger(__name__)
_H = TypeVar("_H", bound=Handler)


class Service(Responding):
    """An app's handlers, by path and method.

    Args:
        name: The app's name, 1 to 64 bytes.
        allow: Who may call: names, or a callable that gets the requester's name (or the
            Request, if its parameter is annotated so). Everybody if None.
        concurrency: How many requests are handled at a time; more wait.
        on_ready: Called, async or not, when requests can come.
        middleware: What stands around the handlers, the first outermost; see ``use``.
        version: Of the app, as its information shows it.
        description: Of the app, as its information shows it.
        sign: Whether answers are signed by the user's nkey.
        require_signed: Whether requests that their requester did not sign are refused (403).

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(
        self,
        name: str,
        *,
        allow: Allow = None,
        concurrency: int = 256,
        on_ready: Callable[[], Any] | None = None,
        middleware: Iterable[Middleware] = (),
        version: str = "0.0.0",
        description: str = "",
        sign: bool = False,
        require_signed: bool = False,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        super().__init__(name, version, description, middleware)
        self._sign = sign
        self._require_signed = require_signed
        self._allow = allow_rule(allow)
        self._concurrency = concurrency
        self._on_ready = on_ready
        self._discovery: Discovery | None = None
        # Of the serve that is under way, that comes next, or that failed before it was ready.
        self._ready: asyncio.Future[None] | None = None

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
        path = travelling(path)
        if "?" in path:
            raise ValueError("a path has no query; a handler finds it as request.query")
        if is_reserved(path):
            raise ValueError(f"what begins with {PREFIX} is answered by the library itself")
        caller = sys._getframe(1)  # noqa: SLF001  models defined beside a local handler

        def register(handler: _H) -> _H:
            call = bind(handler, dict(caller.f_locals))
            call = call if cancellable else unbroken(call)
            call = call if limit is None else limited(call, limit, self.stats)
            names = route_methods(methods)
            route = Route(call, allow_rule(allow), EndpointStats.of(handler, path, names))
            known = self._routes.setdefault(path, {})
            for method in names:
                if method in known:
                    raise ValueError(f"{method} {path} has a handler already")
                known[method] = route
            return handler

        return register

    async def ready(self) -> None:
        """Return when requests can come.

        Raises:
            Exception: What ``serve`` ended with before requests could come.
        """
        await asyncio.sleep(0)  # a serve that was made a task just now begins
        await asyncio.shield(self._readiness())

    def _readiness(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if self._ready is None or self._ready.get_loop() is not loop:
            self._ready = loop.create_future()
        return self._ready

    async def serve(
        self, client: AsyncClient, *, on_ready: Callable[[], Any] | None = None
    ) -> None:
        """Answer requests on a connected client until ``stop``, its end, or cancellation.

        Args:
            client: Whose user answers.
            on_ready: Called, async or not, when requests can come.

        Raises:
            RuntimeError: This service is being served already.
            PermissionDenied: The user may not answer for this app.
            NotAuthenticated: The client's credential ended and there is no other.
        """
        if self._serving is not None:
            raise RuntimeError(f"the service {self.name!r} is being served already")
        if self._ready is not None and self._ready.done():
            self._ready = None
        ready = self._readiness()
        try:
            session, _ = client.live()
            self._serving = serving = Serving(self, session, self._concurrency)
            serving.signs = self._sign
            if self._require_signed:
                self._layers = (signed_only(client.trust, self.stats), *self._middleware)
            self._discovery = discovery = Discovery(self, session)
            client.attach(self)
            try:
                if await serving.start():
                    await discovery.start()
                    ready.set_result(None)
                    await self._tell(on_ready)
                await serving.finished()
            finally:
                try:
                    await discovery.stop()
                    await serving.stop()
                finally:
                    self._serving = None
                    client.detach(self)
        except Exception as error:
            _fail(ready, error)
            raise
        finally:
            _fail(ready, Disconnected("the service was stopped before requests could come"))
            if ready.exception() is None:
                self._ready = None

    async def _tell(self, on_ready: Callable[[], Any] | None) -> None:
        for callback in (self._on_ready, on_ready):
            if callback is not None and inspect.isawaitable(result := callback()):
                await result

    async def stop(self) -> None:
        """Take no more, finish what is in flight, answer it; ``serve`` then returns."""
        if self._serving is not None:
            if self._discovery is not None:
                await self._discovery.stop()
            await self._serving.stop()

    def run(
        self,
        url: str | None = None,
        *,
        on_ready: Callable[[], Any] | None = None,
        **credentials: Any,
    ) -> None:
        """Serve until SIGINT or SIGTERM, which lets it finish what is in flight (30 s at most).

        Blocks; has its own event loop, uvloop where that is installed. A second signal kills
        the process.

        Args:
            url: Where authsvc is, as for AsyncClient.
            on_ready: Called, async or not, when requests can come.
            credentials: AsyncClient's other arguments.

        Raises:
            RpcError: There is no connection, or it ended for good.
        """
        run_until_told(self._main(url, on_ready, credentials))

    async def _main(
        self, url: str | None, on_ready: Callable[[], Any] | None, credentials: dict[str, Any]
    ) -> None:
        async with AsyncClient(url, **credentials) as client:
            await self.serve(client, on_ready=on_ready)

    async def _dispatch(self, request: Request, threads: Threads) -> Response:
        methods = self._routes.get(request.path)
        if self._allow is not None and not await allowed(self._allow, request):
            return self._refuse()
        if methods is None:
            return answer_reserved(self, request) or problem(404, "no such path")
        route = methods.get(request.method)
        if route is None:
            return problem(405, "no such method", {"allow": ", ".join(sorted(methods))})
        if route.allow is not None and not await allowed(route.allow, request):
            return self._refuse()
        stats = route.stats
        stats.num_requests = count = stats.num_requests + 1
        if count & SAMPLING != 1:
            return await route.call(request, threads)
        started = perf_counter_ns()
        try:
            return await route.call(request, threads)
        finally:
            stats.took(perf_counter_ns() - started)

    def _refuse(self) -> Response:
        self.stats.refused += 1
        return problem(403, "not allowed")


def _fail(ready: asyncio.Future[None], error: Exception) -> None:
    if not ready.done():
        ready.set_exception(error)
        ready.exception()  # seen, even where nobody waits for it
