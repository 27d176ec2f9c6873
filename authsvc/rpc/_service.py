"""Service: an app that answers others."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import anyio

from authsvc import subjects
from authsvc.errors import InvalidInput, InvalidMessage, RpcError
from authsvc.rpc._client import AsyncClient
from authsvc.rpc._messages import Request, Response
from authsvc.rpc._routes import Allow, Handler, Refused, Route, allow_rule, bind, route_methods
from authsvc.rpc._wire import ResponseFrame, decode_request, encode_response
from authsvc.rpc._workers import Workers

__all__ = ["Service", "ServiceStats", "run"]

_log = logging.getLogger(__name__)
_H = TypeVar("_H", bound=Handler)

CLOCK_TOLERANCE_SECONDS = 5.0
"""How far requester's and responder's clocks may be apart; see docs/wire.md."""

_BACKLOG = 65_536
_DRAIN_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_THREADS = 64


@dataclass(slots=True)
class ServiceStats:
    """What a service counted since it was made.

    ``malformed`` messages came without our framing, or on a subject that is none of ours.
    """

    requests: int = 0
    responses: int = 0
    errors: int = 0
    expired: int = 0
    refused: int = 0
    rejected: int = 0
    malformed: int = 0
    unanswered: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)


class _Job(NamedTuple):
    """A request and where its answer belongs."""

    request: Request
    answer_to: str


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
        self._serving: _Serving | None = None
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
            path: Such as ``/ping``; compared as it is, without the query.
            methods: The methods it answers.
            allow: Who may call it, in addition to the service's own ``allow``.

        Raises:
            ValueError: Path and method are taken, or no path and method.
            TypeError: A parameter asks for something that a request has not.
        """
        path = path if path.startswith("/") else f"/{path}"
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
        serving = _Serving(self, client)
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

    def run(self, url: str | None = None, **credentials: Any) -> None:
        """Serve until SIGINT or SIGTERM, which let it finish what is in flight.

        Blocks; has its own event loop, uvloop where that is installed.

        Args:
            url: Where authsvc is, as for AsyncClient.
            credentials: AsyncClient's other arguments.

        Raises:
            RpcError: There is no connection, or it ended for good.
        """
        run(self._main(url, credentials))

    async def _main(self, url: str | None, credentials: dict[str, Any]) -> None:
        on_ready = credentials.pop("on_ready", None)
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
        except Exception:  # noqa: BLE001  handlers raise what they like
            return self.failed(request)

    async def _dispatch(self, request: Request, limiter: anyio.CapacityLimiter) -> Response:
        methods = self._routes.get(request.path)
        if self._allow is not None and not await _allowed(self._allow, request):
            return self._refuse()
        if methods is None:
            return _problem(404, "no such path")
        route = methods.get(request.method)
        if route is None:
            return _problem(405, "no such method", {"allow": ", ".join(sorted(methods))})
        if route.allow is not None and not await _allowed(route.allow, request):
            return self._refuse()
        return await route.call(request, limiter)

    def _refuse(self) -> Response:
        self.stats.refused += 1
        return _problem(403, "not allowed")

    def failed(self, request: Request) -> Response:
        """The answer for a handler that raised; logs the exception that is being handled."""
        self.stats.errors += 1
        # The exception's text stays here: it may hold what the requester must not see.
        _log.exception("the handler of %s %s failed", request.method, request.path)
        return _problem(500, "the responder failed")

    @property
    def concurrency(self) -> int:
        """How many requests are handled at a time."""
        return self._concurrency


class _Serving:
    """A service while it is served by one client."""

    def __init__(self, service: Service, client: AsyncClient) -> None:
        self._service = service
        self._stats = service.stats
        self._client = client
        self._session = client.session
        me = subjects.token(client.username)
        self._app = subjects.token(service.name)
        self._subject = f"requests.*.{me}.{self._app}"
        self._end = f".{me}.{self._app}".encode("ascii")
        self._workers = Workers(self._handle, limit=service.concurrency, backlog=_BACKLOG)
        self._limiter = anyio.CapacityLimiter(min(service.concurrency, _THREADS))
        self._stopping: asyncio.Task[None] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._interest: Any = None

    async def start(self) -> None:
        self._interest = await self._session.listen(self._subject, self._receive, self._app)

    async def finished(self) -> None:
        watch = asyncio.ensure_future(self._session.failed())
        try:
            await asyncio.wait({self._over, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and not self._over.done():
                watch.result()
        finally:
            watch.cancel()

    def end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def stop(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain())
        await asyncio.shield(self._stopping)

    async def _drain(self) -> None:
        if self._interest is not None:
            await self._session.forget(self._interest)
        if not await self._workers.quiet(_DRAIN_SECONDS):
            _log.warning("%d requests were still in flight and are given up", self._workers.busy)
        await self._workers.stop()
        if (connection := self._session.connection) is not None:
            with contextlib.suppress(RpcError):
                await connection.barrier()
        self.end()

    def _receive(self, subject: bytes, data: bytes, _headers: bytes | None) -> None:
        try:
            requester, start = _parties(subject, self._end)
            frame = decode_request(data)
        except InvalidInput:
            self._stats.malformed += 1
            return
        self._stats.requests += 1
        request = Request(requester, self._service.name, frame, time.monotonic())
        job = _Job(request, start + frame.id)
        if not self._workers.submit(job):
            self._stats.rejected += 1
            self._send_now(job, _problem(503, "too many requests wait", {"retry-after": "1"}))

    async def _handle(self, job: _Job) -> None:
        request = job.request
        # Waiting here is measured by this clock alone. What was late already when it came can
        # be told by the wall clocks only, which may be apart.
        late = time.time() * 1000 - request.deadline > CLOCK_TOLERANCE_SECONDS * 1000
        if late or time.monotonic() >= request.expires:
            self._stats.expired += 1
            response = _problem(419, "the request expired before it was handled")
        else:
            try:
                response = await self._service.respond(request, self._limiter)
            except asyncio.CancelledError:
                if self._workers.stopped:
                    raise
                # Not this worker was cancelled but something that the handler waited for, or
                # the handler its own task. It is a failure like another; the next request
                # must not feel it.
                if (task := asyncio.current_task()) is not None:
                    while task.cancelling():
                        task.uncancel()
                response = self._service.failed(request)
        payload = self._encode(job, response)
        connection = self._session.connection
        if connection is None or len(payload) > connection.limit or connection.congested:
            await self._send_later(job, payload)
            return
        connection.send(job.answer_to, "", payload)
        self._stats.responses += 1

    async def _send_later(self, job: _Job, payload: bytes) -> None:
        """Answer where there is no connection now, or where the answer does not fit it."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = await self._session.usable()
                if len(payload) > connection.limit:
                    payload = self._too_large(job, payload, connection.limit)
                if connection.congested:
                    await connection.flow()
                connection.send(job.answer_to, "", payload)
        except (RpcError, TimeoutError):
            self._stats.unanswered += 1
            _log.info("an answer could not be sent: there is no connection")
        else:
            self._stats.responses += 1

    def _send_now(self, job: _Job, response: Response) -> None:
        connection = self._session.connection
        if connection is None:
            self._stats.unanswered += 1
            return
        connection.send(job.answer_to, "", self._encode(job, response))

    def _encode(self, job: _Job, response: Response) -> bytes:
        request = job.request
        try:
            return encode_response(
                ResponseFrame(request.id, response.status, response.pairs, response.content)
            )
        except (InvalidMessage, TypeError) as error:
            self._stats.errors += 1
            _log.error("the handler of %s answered what can't travel: %s", request.path, error)
            return self._encode(job, _problem(500, "the responder failed"))

    def _too_large(self, job: _Job, payload: bytes, limit: int) -> bytes:
        self._stats.errors += 1
        path, size = job.request.path, len(payload)
        _log.warning("the answer of %s has %d bytes, %d at most", path, size, limit)
        return self._encode(job, _problem(507, f"the answer is larger than {limit} bytes"))


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


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    return Response({"detail": detail}, status=status, headers=headers or {})


@lru_cache(4096)
def _parties(subject: bytes, end: bytes) -> tuple[str, str]:
    """Who sent it, and what its response's subject begins with.

    nats-server lets nobody else publish there. The response goes nowhere else: a reply subject
    is whatever the sender likes.

    Raises:
        InvalidInput: Not a request for this app.
    """
    prefix = b"requests."
    if not (subject.startswith(prefix) and subject.endswith(end)):
        raise InvalidMessage("not a request for this app")
    requester = subjects.untoken(subject[len(prefix) : -len(end)].decode("latin-1"))
    return requester, f"responses{subject[len('requests') :].decode('ascii')}."
