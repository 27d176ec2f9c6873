"""Service: an app that answers others."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, Unpack

from authsvc import subjects
from authsvc.errors import Disconnected
from authsvc.rpc._arguments import CredentialArguments
from authsvc.rpc._client import AsyncClient
from authsvc.rpc._flow import MAX_BODY_BYTES
from authsvc.rpc._messages import Request, Response
from authsvc.rpc._offline import OfflineServing
from authsvc.rpc._router import Router, calling_frame, route_path
from authsvc.rpc._routes import Allow, Handler, Refused, Route, allow_rule, bind, route_methods
from authsvc.rpc._running import run_until_told
from authsvc.rpc._schema import SCHEMA_PATH, Schema
from authsvc.rpc._serving import ServiceStats, Serving, problem
from authsvc.rpc._session import Session
from authsvc.rpc._streaming import filled
from authsvc.rpc._threads import Threads

__all__ = ["Service"]

_log = logging.getLogger(__name__)
_H = TypeVar("_H", bound=Handler)


class Service:
    """An app's handlers, by path and method.

    Args:
        name: The app's name, 1 to 64 bytes.
        allow: Who may call: names, or a callable that gets the requester's name (or the
            Request, if its parameter is annotated so). Everybody if None.
        concurrency: How many requests are handled at a time; more wait.
        offline: Whether requests that were stored by ``submit`` are handled too. The app is
            registered with authsvc, so that they wait while it is away.
        ordered: Whether the stored requests of one requester are handled one after the other,
            in the order they were stored; run one process of such an app.
        on_ready: Called, async or not, when requests can come.
        publish_schema: Whether ``describe`` tells those who may call what there is to call.

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(
        self,
        name: str,
        *,
        allow: Allow = None,
        concurrency: int = 256,
        offline: bool = False,
        ordered: bool = False,
        on_ready: Callable[[], Any] | None = None,
        publish_schema: bool = True,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        self.name = subjects.app_name(name)
        self.stats = ServiceStats()
        self._allow = allow_rule(allow)
        self._concurrency = concurrency
        self._offline = offline or ordered
        self._ordered = ordered
        self._on_ready = on_ready
        self.max_body = MAX_BODY_BYTES
        self._schema = Schema(self.name)
        self._publish_schema = publish_schema
        self._routes: dict[str, dict[str, Route]] = {}
        self._serving: Serving | None = None
        # Of the serve that is under way, that comes next, or that failed before it was ready.
        self._ready: asyncio.Future[None] | None = None

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
        path = route_path(path)
        caller = calling_frame()

        def register(handler: _H) -> _H:
            route = bind(handler, dict(caller.f_locals), allow, self)
            self._add(path, route_methods(methods), route)
            return handler

        return register

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
            self._add(route_path(prefix.rstrip("/") + entry.path), entry.methods, route)

    def _add(self, path: str, methods: Iterable[str], route: Route) -> None:
        known = self._routes.setdefault(path, {})
        for method in methods:
            if method in known:
                raise ValueError(f"{method} {path} has a handler already")
            known[method] = route

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
            self._serving = serving = self._serving_on(session, client)
            client.attach(self)
            try:
                if await serving.start():
                    ready.set_result(None)
                    await self._tell(on_ready)
                await serving.finished()
            finally:
                try:
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

    def _serving_on(self, session: Session, client: AsyncClient) -> Serving:
        if not self._offline:
            return Serving(self, session, self._concurrency)
        receipts = client.mailbox.receipts
        return OfflineServing(self, session, self._concurrency, receipts, ordered=self._ordered)

    async def _tell(self, on_ready: Callable[[], Any] | None) -> None:
        for callback in (self._on_ready, on_ready):
            if callback is not None and inspect.isawaitable(result := callback()):
                await result

    async def stop(self) -> None:
        """Take no more, finish what is in flight, answer it; ``serve`` then returns."""
        if self._serving is not None:
            await self._serving.stop()

    def run(
        self,
        url: str | None = None,
        *,
        on_ready: Callable[[], Any] | None = None,
        **credentials: Unpack[CredentialArguments],
    ) -> None:
        """Serve until SIGINT or SIGTERM, which lets it finish what is in flight (30 s at most).

        Blocks; has its own event loop, uvloop where that is installed. A second signal kills
        the process. In a thread other than the main one there are no signals, and where an
        event loop runs already, as in a notebook, that waits too.

        Args:
            url: Where authsvc is, as for AsyncClient.
            on_ready: Called, async or not, when requests can come.
            credentials: AsyncClient's other arguments.

        Raises:
            RpcError: There is no connection, or it ended for good.
        """
        run_until_told(self._main(url, on_ready, credentials))

    async def _main(
        self,
        url: str | None,
        on_ready: Callable[[], Any] | None,
        credentials: CredentialArguments,
    ) -> None:
        async with AsyncClient(url, **credentials) as client:
            await self.serve(client, on_ready=on_ready)

    async def respond(self, request: Request, threads: Threads) -> Response:
        """What the service answers to a request; never raises but CancelledError."""
        try:
            return await self._dispatch(request, threads)
        except Refused as refusal:
            return refusal.response
        except (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001  SystemExit too: one request does not end the app
            return self.failed(request)

    async def _dispatch(self, request: Request, threads: Threads) -> Response:
        methods = self._routes.get(request.path)
        if self._allow is not None and not await _allowed(self._allow, request):
            return self._refuse()
        if methods is None:
            if request.path == SCHEMA_PATH and self._publish_schema:
                return await self._describe(request)
            return problem(404, "no such path")
        route = methods.get(request.method)
        if route is None:
            return problem(405, "no such method", {"allow": ", ".join(sorted(methods))})
        if route.allow is not None and not await _allowed(route.allow, request):
            return self._refuse()
        if request.streamed and not route.streams:
            await _fill(request)
        return await route.call(request, threads)

    async def _permits(self, request: Request) -> bool:
        """Whether ``allow=`` of the whole service lets this one in."""
        return self._allow is None or await _allowed(self._allow, request)

    def _not_ready(self, error: Exception) -> None:
        """What comes before ``serve`` failed."""
        _fail(self._readiness(), error)

    async def _describe(self, request: Request) -> Response:
        """What there is to call, as far as the requester may call it."""
        if request.method != "GET":
            return problem(405, "no such method", {"allow": "GET"})
        found: dict[int, tuple[str, list[str], Route]] = {}
        for path, methods in self._routes.items():
            for method, route in methods.items():
                if await _may_know(route, request):
                    found.setdefault(id(route), (path, [], route))[1].append(method)
        return Response(self._schema.document(found.values()))

    def _refuse(self) -> Response:
        self.stats.refused += 1
        return problem(403, "not allowed")

    def failed(self, request: Request) -> Response:
        """The answer for a handler that raised; logs the exception that is being handled."""
        self.stats.errors += 1
        # The exception's text stays here: it may hold what the requester must not see.
        _log.exception("the handler of %s %s failed", request.method, request.path)
        return problem(500, "the responder failed")


def _fail(ready: asyncio.Future[None], error: Exception) -> None:
    if not ready.done():
        ready.set_exception(error)
        ready.exception()  # seen, even where nobody waits for it


async def _allowed(rule: Callable[[Request], Any], request: Request) -> bool:
    answer = rule(request)
    if isinstance(answer, Awaitable):
        answer = await answer
    return answer is True


async def _fill(request: Request) -> None:
    """Wait for the whole body, which the handler asks for."""
    if not await filled(request):
        raise Refused(problem(413, "the body is too large"))


async def _may_know(route: Route, request: Request) -> bool:
    """Whether who asks for the description may call this handler."""
    try:
        return route.allow is None or await _allowed(route.allow, request)
    except Exception:  # noqa: BLE001  it was made for requests of another path
        return False
