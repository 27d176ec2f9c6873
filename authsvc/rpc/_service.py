"""Service: an app that answers others."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import anyio

from authsvc import subjects
from authsvc.rpc._client import AsyncClient
from authsvc.rpc._messages import Request, Response, travelling
from authsvc.rpc._routes import Allow, Handler, Refused, Route, allow_rule, bind, route_methods
from authsvc.rpc._serving import ServiceStats, Serving, problem

__all__ = ["Service", "run"]

_log = logging.getLogger(__name__)
_H = TypeVar("_H", bound=Handler)


class Service:
    """An app's handlers, by path and method.

    Args:
        name: The app's name, 1 to 64 bytes.
        allow: Who may call: names, or a callable that gets the requester's name (or the
            Request, if its parameter is annotated so). Everybody if None.
        concurrency: How many requests are handled at a time; more wait.
        on_ready: Called, async or not, when requests can come.

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
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        self.name = subjects.app_name(name)
        self.stats = ServiceStats()
        self._allow = allow_rule(allow)
        self._concurrency = concurrency
        self._on_ready = on_ready
        self._routes: dict[str, dict[str, Route]] = {}
        self._serving: Serving | None = None
        self._starting = False
        self._ready = asyncio.Event()

    def on_request(
        self,
        path: str,
        *,
        methods: str | Iterable[str] = ("POST",),
        allow: Allow = None,
    ) -> Callable[[_H], _H]:
        """Register a handler.

        Args:
            path: Such as ``/ping``; compared as it is, without the query. What can't travel is
                percent-encoded, as ``call`` does.
            methods: The methods it answers.
            allow: Who may call it, in addition to the service's own ``allow``.

        Raises:
            ValueError: Path and method are taken, or are none.
            TypeError: A parameter asks for something that a request has not.
        """
        path = travelling(path)
        if "?" in path:
            raise ValueError("a path has no query; a handler finds it as request.query")
        caller = sys._getframe(1)  # noqa: SLF001  models defined beside a local handler

        def register(handler: _H) -> _H:
            route = Route(bind(handler, dict(caller.f_locals)), allow_rule(allow))
            known = self._routes.setdefault(path, {})
            for method in route_methods(methods):
                if method in known:
                    raise ValueError(f"{method} {path} has a handler already")
                known[method] = route
            return handler

        return register

    async def ready(self) -> None:
        """Return when requests can come."""
        await self._ready.wait()

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
        if self._starting or self._serving is not None:
            raise RuntimeError(f"the service {self.name!r} is being served already")
        self._starting = True
        client.attach(self)
        serving = Serving(self, client.session, self._concurrency)
        try:
            await serving.start()
            self._serving = serving
            self._ready.set()
            for callback in (self._on_ready, on_ready):
                if callback is not None and inspect.isawaitable(result := callback()):
                    await result
            await serving.finished()
        finally:
            self._ready.clear()
            try:
                await serving.stop()
            finally:
                self._serving, self._starting = None, False
                client.detach(self)

    async def stop(self) -> None:
        """Take no more, finish what is in flight, answer it; ``serve`` then returns."""
        if self._serving is not None:
            await self._serving.stop()

    def run(
        self,
        url: str | None = None,
        *,
        on_ready: Callable[[], Any] | None = None,
        **credentials: Any,
    ) -> None:
        """Serve until SIGINT or SIGTERM, which let it finish what is in flight.

        Blocks; has its own event loop, uvloop where that is installed.

        Args:
            url: Where authsvc is, as for AsyncClient.
            on_ready: Called, async or not, when requests can come.
            credentials: AsyncClient's other arguments.

        Raises:
            RpcError: There is no connection, or it ended for good.
        """
        run(self._main(url, on_ready, credentials))

    async def _main(
        self, url: str | None, on_ready: Callable[[], Any] | None, credentials: dict[str, Any]
    ) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        stopping = False

        def stop() -> None:
            nonlocal stopping
            if self._serving is None or stopping:
                if task is not None:
                    task.cancel()  # before the start, or told twice
            else:
                self._serving.end()
            stopping = True

        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, stop)
        try:
            async with AsyncClient(url, **credentials) as client:
                await self.serve(client, on_ready=on_ready)
        except asyncio.CancelledError:
            if not stopping:
                raise

    async def respond(self, request: Request, limiter: anyio.CapacityLimiter) -> Response:
        """What the service answers to a request; never raises but CancelledError."""
        try:
            return await self._dispatch(request, limiter)
        except Refused as refusal:
            return refusal.response
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001  handlers raise what they like, BaseExceptionGroup too
            return self.failed(request)

    async def _dispatch(self, request: Request, limiter: anyio.CapacityLimiter) -> Response:
        methods = self._routes.get(request.path)
        if self._allow is not None and not await _allowed(self._allow, request):
            return self._refuse()
        if methods is None:
            return problem(404, "no such path")
        route = methods.get(request.method)
        if route is None:
            return problem(405, "no such method", {"allow": ", ".join(sorted(methods))})
        if route.allow is not None and not await _allowed(route.allow, request):
            return self._refuse()
        return await route.call(request, limiter)

    def _refuse(self) -> Response:
        self.stats.refused += 1
        return problem(403, "not allowed")

    def failed(self, request: Request) -> Response:
        """The answer for a handler that raised; logs the exception that is being handled."""
        self.stats.errors += 1
        # The exception's text stays here: it may hold what the requester must not see.
        _log.exception("the handler of %s %s failed", request.method, request.path)
        return problem(500, "the responder failed")


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as ``asyncio.run`` does, on uvloop where that is installed."""
    try:
        import uvloop  # noqa: PLC0415  optional
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


async def _allowed(rule: Callable[[Request], Any], request: Request) -> bool:
    answer = rule(request)
    if isinstance(answer, Awaitable):
        answer = await answer
    return answer is True
