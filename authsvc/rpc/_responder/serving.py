"""A service while one client serves it: from the subscription to the answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import lru_cache, partial
from typing import Any, cast

from authsvc import subjects
from authsvc.errors import InvalidInput, InvalidMessage, RpcError
from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._loops.workers import Workers
from authsvc.rpc._messages.message import Request
from authsvc.rpc._responder.answers import Answers, Job
from authsvc.rpc._responder.app import App, problem
from authsvc.rpc._responder.cancelling import Cancellations
from authsvc.rpc._session.interests import Interest
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._streams.exchanges import Exchanges
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._wire.chunks import OPENING, decode_open
from authsvc.rpc._wire.frames import decode_request

__all__ = ["Serving"]

_log = logging.getLogger(__name__)

CLOCK_TOLERANCE_SECONDS = 5.0
"""How far requester's and responder's clocks may be apart; see docs/wire.md."""

_BACKLOG = 65_536
_DRAIN_SECONDS = 30.0


class Serving(Answers):
    """An app while it is served.

    Args:
        app: What is served.
        session: Whose user answers.
        concurrency: How many requests are handled at a time.
    """

    def __init__(self, app: App, session: Session, concurrency: int) -> None:
        super().__init__(app, session)
        me = subjects.token(session.login.username)
        self._app = subjects.token(app.name)
        self._subject = f"requests.*.{me}.{self._app}"
        self._end = f".{me}.{self._app}".encode("ascii")
        self._workers: Workers[Any] = Workers(self._handle, limit=concurrency, backlog=_BACKLOG)
        # A thread for each: a plain function that blocks holds up no other.
        self._threads = Threads()
        self._exchanges = Exchanges(session, self._subject, app.stats, limit=app.max_body)
        self._stopping: asyncio.Task[None] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening: asyncio.Task[Interest] | None = None
        self._cancellations = Cancellations(
            session,
            self._subject,
            lambda subject: _parties(subject, self._end)[1],
            workers=self._workers,
            held=self._threads.held,
            stats=app.stats,
        )

    def sign(self) -> None:
        """Sign answers, chunks of them included."""
        self._signs = True
        self._exchanges.sign()

    def demand_signed(self) -> None:
        """Hand on only chunks that their requester signed."""
        self._exchanges.demand_signed(self._count_unsigned)

    def _count_unsigned(self, count: int) -> None:
        self._stats.unsigned += count

    @property
    def subject(self) -> str:
        """Where requests come in."""
        return self._subject

    @property
    def in_flight(self) -> int:
        """Requests that are handled now or wait for it."""
        return self._workers.busy

    async def start(self) -> bool:
        """Subscribe; requests can come when it returns, unless ``stop`` came first: then False.

        Raises:
            PermissionDenied: The user may not answer for this app.
        """
        self._listening = asyncio.create_task(self._listen())
        await asyncio.wait({self._listening})
        if self._stopping is not None:
            return False
        self._listening.result()
        await self._cancellations.start()
        return self._stopping is None

    async def _listen(self) -> Interest:
        await self._exchanges.listen()
        return await self._session.listen(self._subject, self._receive, self._app)

    async def finished(self) -> None:
        """Wait for the end of ``stop``, or raise why there will be no connection any more."""
        watch = asyncio.ensure_future(self._session.failed())
        try:
            await asyncio.wait({self._over, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and not self._over.done():
                watch.result()
        finally:
            watch.cancel()

    async def stop(self) -> None:
        """Take no more, finish what is in flight, answer it."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain())
        await asyncio.shield(self._stopping)

    async def _drain(self) -> None:
        try:
            await self._hear_out()
            if not await self._workers.quiet(min(_DRAIN_SECONDS, self._session.patience)):
                _log.warning("%d requests were in flight and are given up", self._workers.busy)
        finally:
            await self._workers.stop()
            await self._settle()
            self._threads.close()
            await self._cancellations.stop()
            await self._exchanges.close()
        if (connection := self._session.connection) is not None:
            with contextlib.suppress(RpcError):
                await connection.finish()
        self._over.set_result(None)

    async def _hear_out(self) -> None:
        if self._listening is not None:
            self._listening.cancel()  # nothing, if it is done
            await asyncio.wait({self._listening})
            if not self._listening.cancelled() and self._listening.exception() is None:
                await self._session.forget(self._listening.result())

    async def _settle(self) -> None:
        """Wait for what follows an answer; of live ones, nothing does."""

    def _receive(self, subject: bytes, data: bytes, _headers: bytes | None) -> None:
        if data.startswith(OPENING):
            self._receive_open(subject, data)
            return
        try:
            requester, start = _parties(subject, self._end)
            frame = decode_request(data)
        except InvalidInput:
            self._stats.malformed += 1
            return
        self._stats.requests += 1
        request = Request(requester, self._service.name, frame, time.monotonic())
        job = Job(request, start + frame.id)
        if not self._workers.submit(job):
            self._stats.rejected += 1
            self._send_now(job, problem(503, "too many requests wait", {"retry-after": "1"}))

    def _receive_open(self, subject: bytes, data: bytes) -> None:
        """Take a request whose bodies may travel in chunks."""
        try:
            requester, start = _parties(subject, self._end)
            frame = decode_open(data)
        except InvalidInput:
            self._stats.malformed += 1
            return
        self._stats.requests += 1
        answer_to = start + frame.request.id
        request = self._exchanges.open(subject, frame, requester, self._service.name, answer_to)
        if request is None:
            return
        job = Job(request, answer_to)
        if not self._workers.submit(job):
            self._exchanges.forget(request.exchange)
            self._stats.rejected += 1
            self._send_now(job, problem(503, "too many requests wait", {"retry-after": "1"}))

    async def _handle_streamed(self, job: Job, request: StreamedRequest) -> None:
        exchange = request.exchange
        exchange.answer = partial(self._answer, job)
        try:
            await self._exchanges.handle(exchange, self._respond_in_pieces(request, exchange))
        finally:
            del exchange.answer  # which knows the request, and that this

    async def _respond_in_pieces(self, request: StreamedRequest, exchange: Exchange) -> None:
        late = time.time() * 1000 - request.deadline > CLOCK_TOLERANCE_SECONDS * 1000
        if late or time.monotonic() >= request.expires:
            self._stats.expired += 1
            response = problem(419, "the request expired before it was handled")
        else:
            try:
                response = await self._service.respond(request, self._threads)
            except asyncio.CancelledError:
                if self._workers.stopped or exchange.gone or not request.expires:
                    raise
                response = self._service.failed(request)
        await exchange.finish(response)
        if exchange.begun and not exchange.gone:
            self._stats.responses += 1

    async def _handle(self, job: Job) -> None:
        request = job.request
        if request.streamed:
            await self._handle_streamed(job, cast("StreamedRequest", request))
            return
        # Waiting here is measured by this clock alone. What was late already when it came can
        # be told by the wall clocks only, which may be apart.
        late = time.time() * 1000 - request.deadline > CLOCK_TOLERANCE_SECONDS * 1000
        if late or time.monotonic() >= request.expires:
            self._stats.expired += 1
            response = problem(419, "the request expired before it was handled")
        elif self._cancellations.early and self._cancellations.take(job.answer_to):
            return
        else:
            try:
                response = await self._service.respond(request, self._threads)
            except asyncio.CancelledError:
                if self._workers.stopped:
                    raise
                if not request.expires:
                    self._stats.cancelled += 1
                    raise  # the worker ends with it
                # Something that the handler waited for was cancelled: a failure like another.
                await self._answer(job, self._service.failed(request))
                # Or this task, by the handler or with the loop: then the worker must end.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
                return
        if (waiting := self._answer_at_once(job, response)) is not None:
            await self._send_later(job, waiting)


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
