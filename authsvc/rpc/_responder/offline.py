"""A service that also takes the requests that were stored while it was away.

They go to the same handlers and the same workers as live ones. JetStream forgets a request only
when its answer is stored: the acknowledgement follows the answer's own. Until then it is told
every few seconds that somebody works on it; whoever dies says nothing, and it is handed out again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from authsvc.errors import RpcError
from authsvc.rpc._calls.places import receipts_of
from authsvc.rpc._calls.receipts import Question, Receipts
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.app import App, problem
from authsvc.rpc._responder.hand import Hand, Taken, pause_before
from authsvc.rpc._responder.lanes import OrderedHand
from authsvc.rpc._responder.pulling import Puller
from authsvc.rpc._responder.registration import Registration
from authsvc.rpc._responder.serving import Serving
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.frames import RequestFrame
from authsvc.rpc._wire.jetstream import (
    ACK,
    NOBODY,
    PROGRESS,
    Delivered,
    Refusal,
    Stored,
    nak,
)

__all__ = ["OfflineServing"]

_log = logging.getLogger(__name__)
_PROGRESS_SECONDS = 4.0
_MOST_IN_HAND, _MOST_HELD = 512, 1024
_AHEAD = 64
_STORE_AGAIN_SECONDS, _STORE_SECONDS = 0.5, 15.0
_SETTLE_SECONDS = 10.0
_UNAVAILABLE = 503
_TOO_LARGE = 10054


class OfflineServing(Serving):
    """An app while it is served, live and from its stream.

    Args:
        app: What is served.
        session: Whose user answers.
        concurrency: How many requests are handled at a time, live and stored ones together.
        receipts: Where answers of JetStream come.
        ordered: Whether the stored requests of one requester are handled one after the other.
    """

    def __init__(
        self, app: App, session: Session, concurrency: int, receipts: Receipts, *, ordered: bool
    ) -> None:
        super().__init__(app, session, concurrency)
        self._receipts = receipts
        ahead = min(concurrency, _AHEAD)
        self._most = min(concurrency + ahead, _MOST_IN_HAND)
        self._puller = Puller(session, app.name, self, max(1, ahead // 2), self._stats)
        self._ordered = ordered
        self._hand = OrderedHand() if ordered else Hand()
        self._empty = asyncio.Event()
        self._halt = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None
        self._registration = Registration(session, app.name)

    async def start(self) -> bool:
        """Subscribe, register the app, and ask for what waits.

        Raises:
            PermissionDenied: The user may not answer for this app.
            RpcError: authsvc refuses to register the app.
        """
        if not await super().start():
            return False
        self._starting = asyncio.create_task(self._begin())
        await asyncio.wait({self._starting})
        if self._stopping is not None:
            return False
        self._starting.result()
        return True

    async def _begin(self) -> None:
        unacknowledged = await self._registration.register()
        await self._receipts.listen()
        self._hand.begin(unacknowledged, time.monotonic())
        await self._puller.start()
        self._progress()

    def missing(self) -> None:
        """There is no consumer: not registered, or removed, or nats-server is starting."""
        self._registration.missing(stopping=self._stopping is not None)

    # What the puller asks and brings.

    def room(self) -> int:
        """How many more requests may be in hand."""
        # While others' are awaited, what comes meanwhile must not take their room.
        most = _MOST_HELD if self._hand.holding(time.monotonic()) else self._most
        return most - len(self._hand)

    def delivered(self, about: Delivered) -> None:
        """Something was handed out; ``deliver`` follows if it is a request."""
        now = time.monotonic()
        held = self._hand.holding(now)
        self._hand.delivered(about, now)
        if not held and (held := self._hand.holding(now)):
            self._registration.holds(held)

    def deliver(
        self, requester: str, start: str, frame: RequestFrame, ack: str, about: Delivered
    ) -> None:
        """Take a request in hand."""
        if self._hand.known(about, ack):
            return
        self._stats.stored += 1
        if about.times > 1:
            self._stats.redelivered += 1
        if self._hand.finished(about):
            self._say(ack, ACK)
            return
        if self._halt.is_set():
            self._say(ack, nak(0))
            return
        request = Request(requester, self._service.name, frame, time.monotonic())
        # Days may be between: here only the deadline counts, which is absolute.
        request.expires = time.monotonic() + request.deadline / 1000 - time.time()
        taken = Taken(request, f"{start}{frame.id}.stored", ack, about)
        now = time.monotonic()
        self._submit(self._hand.take(taken, now))
        held = self._hand.holding(now)
        if held and about.times == 1 and len(self._hand) > self._most:
            self._give_back(taken, held)

    def _submit(self, ready: Iterable[Taken]) -> None:
        for taken in ready:
            if not self._workers.submit(taken):
                self._stats.rejected += 1
                self._give_back(taken, 1.0)

    # From the worker to the acknowledgement.

    async def _handle(self, job: Any) -> None:
        if not isinstance(job, Taken):
            await super()._handle(job)
            return
        try:
            response = await self._respond(job)
        except asyncio.CancelledError:
            self._give_back(job, 0)
            raise
        if response is None:
            return
        self._stats.requests += 1
        self._store(job, self._fitting(job, response))

    async def _respond(self, taken: Taken) -> Response | None:
        """The answer; None where the request was given back."""
        request = taken.request
        while not self._halt.is_set():
            if time.time() * 1000 >= request.deadline:
                self._stats.expired += 1
                return problem(419, "the request expired before it was handled")
            response = await self._attempt(request)
            if response.status != _UNAVAILABLE:
                return response
            # The handler says that it can't now: JetStream hands the request out again, later.
            pause = pause_before(response, taken.about.times)
            if not self._ordered:
                self._give_back(taken, pause)
                return None
            await self._rest(min(pause, request.remaining() + 0.01))
        self._give_back(taken, 0)
        return None

    async def _attempt(self, request: Request) -> Response:
        try:
            return await self._service.respond(request, self._threads)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._workers.stopped or (task is not None and task.cancelling()):
                raise
            # Something that the handler waited for was cancelled: a failure like another.
            return self._service.failed(request)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._halt.wait()
        except TimeoutError:
            return

    def _fitting(self, taken: Taken, response: Response) -> bytes:
        payload = self._encode(taken.request, response)
        connection = self._session.connection
        if connection is not None and len(payload) > connection.limit:
            payload = self._too_large(taken.request, payload, connection.limit)
        return payload

    def _store(self, taken: Taken, payload: bytes) -> None:
        taken.question = Question(
            taken.answer_to,
            payload,
            read=receipts_of(taken.request.requester),
            told=partial(self._stored, taken),
        )
        self._receipts.ask(taken.question)

    def _stored(self, taken: Taken, answer: Any) -> None:
        """JetStream says what became of an answer."""
        if isinstance(answer, Stored):
            self._stats.responses += 1
            self._finish(taken)
            return
        if isinstance(answer, RpcError) or taken.question is None:
            # There is no connection any more, or it may not answer: somebody else has to.
            self._stats.unanswered += 1
            self._give_back(taken, 1.0)
            return
        if isinstance(answer, Refusal) and answer.error == _TOO_LARGE:
            size = len(taken.question.payload)
            self._store(taken, self._too_large(taken.request, taken.question.payload, size - 1))
            return
        now = time.monotonic()
        taken.failing_since = taken.failing_since or now
        if now - taken.failing_since < _STORE_SECONDS and not self._halt.is_set():
            self._receipts.ask_later(taken.question, _STORE_AGAIN_SECONDS)
            return
        self._stats.unanswered += 1
        if answer is NOBODY:
            _log.info("%s keeps no answers; one is dropped", taken.request.requester)
            self._finish(taken)
        else:
            _log.warning("an answer was not stored (%s); its request waits again", answer.text)
            self._give_back(taken, pause_before(None, taken.about.times))

    def _finish(self, taken: Taken) -> None:
        self._say(taken.ack, ACK)
        self._out_of_hand(taken, done=True)

    def _give_back(self, taken: Taken, delay: float) -> None:
        """Not handled here: to be handed out again."""
        self._stats.returned += 1
        self._say(taken.ack, nak(delay))
        self._out_of_hand(taken, done=False, delay=delay)

    def _out_of_hand(self, taken: Taken, *, done: bool, delay: float = 0.0) -> None:
        self._submit(self._hand.let_go(taken, time.monotonic(), done=done, delay=delay))
        if not self._hand:
            self._empty.set()
        self._puller.pull()

    def _say(self, ack: str, word: bytes) -> None:
        # Without a connection nothing is said; the request is handed out again, and known then.
        if (connection := self._session.connection) is not None:
            connection.send(ack, "", word)

    def _progress(self) -> None:
        for taken in self._hand.all:
            self._say(taken.ack, PROGRESS)
        self._submit(self._hand.ready(time.monotonic()))
        self._timer = self._loop.call_later(_PROGRESS_SECONDS, self._progress)

    # The end.

    async def _hear_out(self) -> None:
        self._halt.set()
        self._puller.stop()
        for task in (self._starting, self._registration.again):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        await super()._hear_out()
        await self._puller.close()
        for taken in self._hand.idle():
            self._give_back(taken, 0)

    async def _settle(self) -> None:
        """Wait until what was answered is stored and acknowledged."""
        self._empty.clear()
        if self._hand:
            try:
                async with asyncio.timeout(_SETTLE_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                _log.warning("%d answers were not confirmed in time", len(self._hand))
        if self._timer is not None:
            self._timer.cancel()
