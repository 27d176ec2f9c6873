"""An ASGI application as a service on NATS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from authsvc.errors import InvalidInput
from authsvc.rpc._http.asgi_cycle import Cycle
from authsvc.rpc._http.asgi_scope import AsgiApp
from authsvc.rpc._http.lifespan import Lifespan
from authsvc.rpc._http.openapi import asking, described
from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._responder.app import problem
from authsvc.rpc._responder.reserved import PREFIX, answer_reserved
from authsvc.rpc._responder.routes import Allow, Route, allowed
from authsvc.rpc._responder.schema import SCHEMA_PATH
from authsvc.rpc._service import Service
from authsvc.rpc._wire.flow import MAX_BODY_BYTES
from authsvc.rpc._wire.forwarding import is_callers

__all__ = ["AsgiService", "rpc_lifespan", "serve_asgi"]

_log = logging.getLogger(__name__)
_BACKGROUND_SECONDS = 30.0


class AsgiService(Service):
    """An ASGI application, such as FastAPI's or Starlette's, as a service on NATS.

    The application sees who calls as the header ``x-syft-user`` and the request's id as
    ``x-syft-request-id``; what a client sends under these names is dropped. The same stands in
    ``scope["extensions"]["authsvc"]``.

    Args:
        app: The application.
        name: The app's name, 1 to 64 bytes.
        allow: Who may call, as for Service.
        concurrency: How many requests are handled at a time; more wait.
        on_ready: Called, async or not, when requests can come.
        max_body: Bytes of a request's body, at most; 413 above.
        lifespan: Whether the application's lifespan is run.
        state: What a request finds as its state, where the lifespan is not run.
        openapi: Where the application answers its OpenAPI document, from which it is described;
            if None where FastAPI does, ``app.openapi_url``. The requester who asks must be let in.
        publish_schema: Whether ``describe`` tells those who may call what there is to call.

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(
        self,
        app: AsgiApp,
        name: str,
        *,
        allow: Allow = None,
        concurrency: int = 256,
        on_ready: Callable[[], Any] | None = None,
        max_body: int = MAX_BODY_BYTES,
        lifespan: bool = True,
        state: Mapping[str, Any] | None = None,
        openapi: str | None = None,
        publish_schema: bool = True,
    ) -> None:
        super().__init__(
            name,
            allow=allow,
            concurrency=concurrency,
            on_ready=on_ready,
            publish_schema=publish_schema,
        )
        self.max_body = max_body
        found = openapi if openapi is not None else getattr(app, "openapi_url", None)
        self._openapi = found if isinstance(found, str) and found.startswith("/") else None
        self._app = app
        self._lifespan = lifespan
        self._state = dict(state or {})
        self._background: set[asyncio.Task[Response]] = set()

    async def serve(
        self, client: AsyncClient, *, on_ready: Callable[[], Any] | None = None
    ) -> None:
        """Start the application and answer requests; see Service.serve."""
        async with contextlib.AsyncExitStack() as stack:
            if self._lifespan:
                try:
                    self._state = (await stack.enter_async_context(Lifespan(self._app))).state
                except Exception as error:
                    self._not_ready(error)
                    raise
            stack.push_async_callback(self._finish)
            await super().serve(client, on_ready=on_ready)

    async def _finish(self) -> None:
        """Let what runs after its answer come to its end."""
        if self._background:
            await asyncio.wait(self._background, timeout=_BACKGROUND_SECONDS)
        for task in self._background:
            task.cancel()

    def _add(self, path: str, methods: Iterable[str], route: Route) -> None:  # noqa: ARG002
        raise TypeError(f"{path}: the ASGI application has the handlers; make a Service beside it")

    async def _dispatch(self, request: Request, threads: Threads) -> Response:  # noqa: ARG002
        if self._allow is not None and not await allowed(self._allow, request):
            return self._refuse()
        if request.target.startswith(PREFIX) and (own := await self._own(request)) is not None:
            return own
        cycle = Cycle(request, self._state)
        if request.streamed:
            return await cycle.run(self._app)
        # The answer leaves when it is there; the application may go on in the background.
        answered = asyncio.Event()
        cycle.on_response = answered.set
        task = asyncio.create_task(cycle.run(self._app))
        self._background.add(task)
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: answered.set())
        try:
            await answered.wait()
        except asyncio.CancelledError:
            task.cancel()
            raise
        return cycle.response if cycle.response is not None else task.result()

    async def _own(self, request: Request) -> Response | None:
        """The library's answer, to what no application is asked."""
        if request.path != SCHEMA_PATH:
            return answer_reserved(self, request)
        if request.method != "GET":
            return problem(405, "no such method", {"allow": "GET"})
        if self._openapi is None or not self._publish_schema:
            return problem(404, "the app does not describe itself")
        # In its own cycle, as the requester: what the application shows nobody, it shows nobody.
        answer = await Cycle(asking(request, self._openapi), self._state).run(self._app)
        return described(self.name, answer, lambda _method, _path: True)

    def _ended(self, task: asyncio.Task[Response]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the application failed: %s", type(error).__name__)


def serve_asgi(
    app: AsgiApp,
    name: str,
    url: str | None = None,
    *,
    allow: Allow = None,
    concurrency: int = 256,
    on_ready: Callable[[], Any] | None = None,
    max_body: int = MAX_BODY_BYTES,
    openapi: str | None = None,
    **credentials: Any,
) -> None:
    """Serve an ASGI application on NATS until SIGINT or SIGTERM, its lifespan included.

    Blocks, as Service.run does. In async code: ``await AsgiService(app, name).serve(client)``.

    Args:
        app: The application.
        name: The app's name.
        url: Where authsvc is, as for AsyncClient.
        allow: Who may call, as for Service.
        concurrency: How many requests are handled at a time.
        on_ready: Called, async or not, when requests can come.
        max_body: Bytes of a request's body, at most.
        openapi: Where the application answers its OpenAPI document, as for AsgiService.
        credentials: AsyncClient's other arguments.

    Raises:
        RpcError: There is no connection, or it ended for good.
    """
    service = AsgiService(
        app, name, allow=allow, concurrency=concurrency, max_body=max_body, openapi=openapi
    )
    service.run(url, on_ready=on_ready, **credentials)


LifespanFunction = Callable[[Any], AbstractAsyncContextManager[Any]]


def rpc_lifespan(
    name: str,
    url: str | None = None,
    *,
    lifespan: LifespanFunction | None = None,
    allow: Allow = None,
    concurrency: int = 256,
    on_ready: Callable[[], Any] | None = None,
    max_body: int = MAX_BODY_BYTES,
    state: Mapping[str, Any] | None = None,
    client: AsyncClient | None = None,
    openapi: str | None = None,
    **credentials: Any,
) -> LifespanFunction:
    """The lifespan of a FastAPI or Starlette app that is on NATS besides its HTTP port.

    ``FastAPI(lifespan=rpc_lifespan("fraggle"))``, or inside a lifespan of one's own:
    ``async with rpc_lifespan("fraggle")(app):``. From requests that come by HTTP the headers
    ``x-syft-user`` and ``x-syft-request-id`` are taken away: only NATS proves who calls.

    Args:
        name: The app's name.
        url: Where authsvc is, as for AsyncClient.
        lifespan: The app's own lifespan, which begins before and ends after.
        allow: Who may call, as for Service.
        concurrency: How many requests by NATS are handled at a time.
        on_ready: Called, async or not, when requests can come by NATS.
        max_body: Bytes of a request's body, at most.
        state: What a request finds as its state, besides what ``lifespan`` yields.
        client: A connected client to serve on, instead of one of its own.
        openapi: Where the app answers its OpenAPI document, as for AsgiService.
        credentials: AsyncClient's other arguments.
    """

    @asynccontextmanager
    async def both(app: Any) -> AsyncIterator[Any]:
        async with contextlib.AsyncExitStack() as stack:
            inner = None
            if lifespan is not None:
                inner = await stack.enter_async_context(lifespan(app))
            stack.enter_context(_guarded(app))
            service = AsgiService(
                app,
                name,
                allow=allow,
                concurrency=concurrency,
                on_ready=on_ready,
                max_body=max_body,
                lifespan=False,
                state={**(inner or {}), **(state or {})},
                openapi=openapi,
            )
            carrier = client
            if carrier is None:
                carrier = await stack.enter_async_context(AsyncClient(url, **credentials))
            await stack.enter_async_context(_serving(service, carrier))
            yield inner

    return both


@asynccontextmanager
async def _serving(service: Service, client: AsyncClient) -> AsyncIterator[None]:
    task = asyncio.create_task(service.serve(client), name="authsvc rpc_lifespan")
    try:
        await service.ready()
        task.add_done_callback(_tell_end)
        yield
    finally:
        await service.stop()
        await asyncio.wait({task})


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the app is not on NATS any more: %s", error)


@contextlib.contextmanager
def _guarded(app: Any) -> Any:
    """Take from requests by HTTP what only NATS proves, while the app runs."""
    inner = getattr(app, "middleware_stack", None)
    if inner is None:
        raise InvalidInput("rpc_lifespan is for FastAPI and Starlette; elsewhere use AsgiService")

    async def guard(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if "authsvc" not in scope.get("extensions", {}) and "headers" in scope:
            kept = [pair for pair in scope["headers"] if not is_callers(pair[0].decode("latin-1"))]
            scope = {**scope, "headers": kept}
        await inner(scope, receive, send)

    app.middleware_stack = guard
    try:
        yield
    finally:
        app.middleware_stack = inner
