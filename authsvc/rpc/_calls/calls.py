"""Calls that wait for their answer: one table, and one timer for all their deadlines."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from authsvc.errors import (
    DeadlineExceeded,
    Disconnected,
    InvalidMessage,
    NoResponder,
    PermissionDenied,
    RpcError,
)
from authsvc.rpc._calls.call import Call, Incoming, Outcome, StoredResponses
from authsvc.rpc._messages.message import Response
from authsvc.rpc._session.owner import fresh
from authsvc.rpc._session.trust import Trust
from authsvc.rpc._wire.flow import Pulse
from authsvc.rpc._wire.frames import decode_answer

__all__ = ["Calls", "ClientStats"]

_log = logging.getLogger(__name__)
_TICKS_PER_SECOND = 64
_ID_CHARS = 32
_AGAIN_SECONDS = 0.1
_SWEEP = 4096


@dataclass(slots=True)
class ClientStats:
    """What a client counted since it was made.

    ``malformed`` messages came on a subject of ours without our framing: bodies that
    nats-server was made to send. ``unknown`` ones answer no call that waits: late, doubled
    while a renewed connection takes over, or guessed.
    """

    calls: int = 0
    submitted: int = 0
    responses: int = 0
    no_responder: int = 0
    timeouts: int = 0
    denied: int = 0
    disconnected: int = 0
    resent: int = 0
    malformed: int = 0
    unknown: int = 0
    cancelled: int = 0
    unsigned: int = 0
    renewals: int = 0
    reconnects: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)


class Calls:
    """The table, found by whole response subject and by nothing less.

    Args:
        send: Publishes a call again, if there is a connection; says whether there was.
        stats: What is counted.
    """

    trust: Trust | None = None
    """Whose signatures count, where only signed responses do."""

    def __init__(self, send: Callable[[Call], bool], stats: ClientStats) -> None:
        self.stats = stats
        # Responses under way after their head, by the same whole subject.
        self.streams: dict[bytes, Incoming] = {}
        self.pulse = Pulse()
        self.stored: StoredResponses | None = None
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[bytes, Call] = {}
        self._buckets: dict[int, dict[bytes, Call]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self._sweep_at = _SWEEP

    def __len__(self) -> int:
        return len(self._waiting)

    def open(self, call: Call, timeout: float) -> asyncio.Future[Response]:
        """Let a call wait.

        Args:
            call: Not sent yet.
            timeout: Seconds until it fails; never earlier, a tick of 16 ms later at most.
        """
        future = self._loop.create_future()
        self.enter(call, timeout, future)
        return future

    def enter(self, call: Call, timeout: float, outcome: Outcome) -> None:
        """``open`` for a call that has where to end."""
        call.future = outcome
        self._waiting[call.key] = call
        # The loop's own clock may be one turn behind.
        deadline = call.deadline = time.monotonic() + timeout
        tick = math.ceil(deadline * _TICKS_PER_SECOND)
        bucket = call.bucket = self._buckets.get(tick)
        if bucket is None:
            call.bucket = self._buckets[tick] = {call.key: call}
            heapq.heappush(self._ticks, tick)
            self._schedule()
            if len(self._ticks) >= self._sweep_at:
                self._sweep()
        else:
            bucket[call.key] = call
        self.stats.calls += 1

    def close(self, call: Call) -> None:
        """Forget a call, answered or not."""
        if self._waiting.pop(call.key, None) is not None and call.bucket is not None:
            call.bucket.pop(call.key, None)

    def fail(self, call: Call, error: RpcError) -> None:
        """End a call with an error."""
        self.close(call)
        if not call.future.done():
            call.future.set_exception(error)

    def receive(self, subject: bytes, data: bytes, _headers: bytes | None) -> None:
        """Take a message that came on the response subscription."""
        call = self._waiting.get(subject)
        if call is None:
            self._receive_part(subject, data)
            return
        try:
            status, pairs, content = decode_answer(data, subject[-_ID_CHARS:])
        except InvalidMessage:
            if not call.take(data):
                self.stats.malformed += 1
            return
        # The timer comes a little late, and the responder's word that time is over before it.
        if time.monotonic() >= call.deadline:
            self._late(call)
            return
        self.close(call)
        self.stats.responses += 1
        if not call.future.done():
            call.future.set_result(Response.received(call.id, status, pairs, content))

    def _receive_part(self, subject: bytes, data: bytes) -> None:
        stream = self.streams.get(subject)
        if stream is None:
            if self.stored is None or not self.stored.take(subject, data):
                self.stats.unknown += 1
        elif not stream.take(data):
            self.stats.malformed += 1

    def receive_status(self, subject: bytes, data: bytes, headers: bytes | None) -> None:
        """Take a message that came on the inbox: nats-server's word that nobody is there."""
        call = self._waiting.get(b"responses" + subject[len(b"_INBOX") :])
        if call is None:
            self.stats.unknown += 1
        elif data or headers is None or not headers.startswith(b"NATS/1.0 503"):
            self.stats.malformed += 1
        elif call.resent:
            # What broke our connection broke the responder's too; it may take longer.
            call.lost = True
            self._loop.call_later(_AGAIN_SECONDS, self.resend)
        else:
            self.stats.no_responder += 1
            self.fail(call, NoResponder(f"nobody listens on {call.subject}"))

    def _late(self, call: Call) -> None:
        self.stats.timeouts += 1
        self.fail(call, DeadlineExceeded(f"no response on {call.subject} in time"))

    def refused(self, subject: str) -> None:
        """Fail the calls whose publish nats-server refused.

        Args:
            subject: As nats-py reports it, in lower case.
        """
        for call in [call for call in self._waiting.values() if call.subject.lower() == subject]:
            self.stats.denied += 1
            self.fail(call, PermissionDenied(f"nats-server refuses publishing to {call.subject}"))

    def disconnected(self, *, hold: bool = False) -> None:
        """The connection broke: mark what may be sent again, fail the rest.

        Args:
            hold: Fail nothing yet: ``resend`` or ``fail_all`` follows, which knows why.
        """
        for call in list(self._waiting.values()):
            if call.idempotent or hold:
                call.lost = True
            else:
                self._broke(call)
        for stream in list(self.streams.values()):
            stream.fail(Disconnected("the connection broke while a body was under way"))

    def _broke(self, call: Call) -> None:
        self.stats.disconnected += 1
        self.fail(
            call,
            Disconnected(
                "the connection broke while the call was in flight; it may have been handled. "
                "Mark calls that may be sent twice with idempotent=True"
            ),
        )

    def resend(self) -> None:
        """Send again, with the same ids, what was lost and may be; fail what may not."""
        for call in [call for call in self._waiting.values() if call.lost]:
            if not call.idempotent:
                self._broke(call)
                continue
            if not self._send(call):
                return
            call.lost, call.resent = False, True
            self.stats.resent += 1

    def fail_all(self, error: RpcError) -> None:
        """Fail every call that waits."""
        for call in list(self._waiting.values()):
            self.fail(call, fresh(error))
        for stream in list(self.streams.values()):
            stream.give_up(fresh(error))

    def stop(self) -> None:
        """Let the timer go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        tick = self._ticks[0]
        if self._timer is not None:
            if tick >= self._timer_tick:
                return
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = self._loop.call_at(tick / _TICKS_PER_SECOND, self._expire)

    def _sweep(self) -> None:
        """Drop empty buckets, which deadlines far away would keep until then."""
        self._buckets = {tick: bucket for tick, bucket in self._buckets.items() if bucket}
        self._ticks = sorted(self._buckets)
        self._sweep_at = 2 * len(self._ticks) + _SWEEP
        self._schedule()

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._ticks and self._ticks[0] / _TICKS_PER_SECOND <= now:
            for call in list(self._buckets.pop(heapq.heappop(self._ticks)).values()):
                self._late(call)
        # Empty buckets are dropped early, so that the timer rests when nothing waits.
        while self._ticks and not self._buckets[self._ticks[0]]:
            del self._buckets[heapq.heappop(self._ticks)]
        if self._ticks:
            self._schedule()
