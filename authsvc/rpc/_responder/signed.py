"""What ``require_signed=`` puts in the place of the plain parts; who does not ask pays nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, cast

from authsvc.errors import DeadlineExceeded, InvalidInput, InvalidMessage
from authsvc.rpc._calls.call import Call
from authsvc.rpc._calls.calls import Calls, ClientStats
from authsvc.rpc._messages.logs import fields
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._messages.middleware import Middleware, Proceed
from authsvc.rpc._responder.app import ServiceStats, problem
from authsvc.rpc._session.trust import Trust, Untrusted
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._wire.chain import Unsealing
from authsvc.rpc._wire.chunks import encode_open
from authsvc.rpc._wire.frames import ResponseFrame, decode_response
from authsvc.rpc._wire.signing import response_text, signature_of, signed_text

__all__ = ["SignedCalls", "signed_only"]

_log = logging.getLogger(__name__)


class SignedCalls(Calls):
    """Calls whose answers count only when their responder signed them.

    Args:
        send: As for ``Calls``.
        stats: As for ``Calls``; ``unsigned`` is counted here.
        trust: Whose signatures count.
    """

    def __init__(self, send: Callable[[Call], bool], stats: ClientStats, trust: Trust) -> None:
        super().__init__(send, stats)
        self.trust = self._trust = trust
        self._reasons: dict[bytes, str] = {}
        self._looking: set[asyncio.Task[None]] = set()

    def receive(self, subject: bytes, data: bytes, headers: bytes | None) -> None:
        """Take a message, if it is signed by who must have sent it."""
        if subject in self._waiting:
            try:
                frame = decode_response(data)
            except InvalidMessage:
                pass  # counted below
            else:
                try:
                    self._check(subject, frame)
                except Untrusted as refusal:
                    if refusal.unknown:
                        self._start(self._look_and_receive(subject, data, frame, headers))
                    else:
                        self._refuse(subject, refusal)
                    return
        super().receive(subject, data, headers)

    def close(self, call: Call) -> None:
        """Forget a call, answered or not."""
        self._reasons.pop(call.key, None)
        super().close(call)

    def stop(self) -> None:
        """Let go of timer and questions."""
        super().stop()
        for task in self._looking:
            task.cancel()

    def _late(self, call: Call) -> None:
        if (reason := self._reasons.get(call.key)) is None:
            super()._late(call)
            return
        self.stats.timeouts += 1
        text = f"no signed response on {call.subject} in time; one was dropped: {reason}"
        self.fail(call, DeadlineExceeded(text))

    def _check(self, subject: bytes, frame: ResponseFrame) -> None:
        try:
            _, signature = signature_of(frame.headers)
        except InvalidMessage as error:
            raise Untrusted(str(error)) from error
        name = subject.decode("ascii")
        text = response_text(name, frame.id, frame.status, frame.headers, frame.content)
        self._trust.check(name, frame.headers, text, signature)

    async def _look_and_receive(
        self, subject: bytes, data: bytes, frame: ResponseFrame, headers: bytes | None
    ) -> None:
        await self._trust.look()
        try:
            self._check(subject, frame)
        except Untrusted as refusal:
            self._refuse(subject, refusal)
        else:
            super().receive(subject, data, headers)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def _refuse(self, subject: bytes, refusal: Untrusted) -> None:
        self.stats.unsigned += 1
        if subject in self._waiting:
            self._reasons[subject] = refusal.reason


async def _verify_opening(trust: Trust, request: StreamedRequest) -> None:
    """Whether a request is signed whose body may come in chunks; its chunks are checked then."""
    exchange = request.exchange
    opening, pairs = exchange.opening, request.pairs
    if opening is None:
        raise Untrusted("the request came before signatures were asked for")
    subject = trust.subject_of(request)
    try:
        _, signature = signature_of(pairs)
        bare = opening._replace(request=opening.request._replace(headers=pairs[:-1]))
        text = signed_text(subject, encode_open(bare))
    except InvalidInput as error:
        raise Untrusted(str(error)) from error
    await trust.agree(subject, pairs, text, signature)
    exchange.unsealing = Unsealing(
        f"{subject}.{exchange.instance}.{request.id}",
        request.id,
        encode_open(opening),
        trust.key_of(pairs),
        len(opening.request.content),
    )


def signed_only(trust: Trust, stats: ServiceStats) -> Middleware:
    """A service's outermost middleware: 403 for what its requester did not sign.

    Args:
        trust: Whose signatures count.
        stats: Where ``unsigned`` is counted.
    """

    async def verify(request: Request, proceed: Proceed) -> Response:
        try:
            if request.streamed:
                await _verify_opening(trust, cast("StreamedRequest", request))
            else:
                await trust.verify(request)
        except Untrusted as refusal:
            stats.unsigned += 1
            _log.info("a request was refused: %s", refusal.reason, extra=fields(request))
            return problem(403, f"only signed requests are answered here: {refusal.reason}")
        return await proceed(request)

    return verify
