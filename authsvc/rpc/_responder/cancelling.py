"""A requester that gives up tells the responder, and the handler is cancelled.

    requests.{requester}.{responder}.{app}.cancel      AUTHSVC/1 cancel <id>

Every instance of the app hears it, outside their queue group, because only one of them has the
request. Only the requester itself may publish there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from authsvc.errors import InvalidInput, InvalidMessage, PermissionDenied
from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._loops.workers import Workers
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._session.interests import Interest
from authsvc.rpc._session.session import Session

__all__ = ["CANCEL", "Cancellations", "cancel_bytes", "decode_cancel", "unbroken"]

CANCEL = ".cancel"

_log = logging.getLogger(__name__)
_MOST_EARLY = 4096
_CANCEL = re.compile(rb"AUTHSVC/1 cancel ([0-9a-f]{32})\r\n\r\n")

Call = Callable[[Request, Threads], Awaitable[Response]]


def cancel_bytes(request_id: str) -> bytes:
    """The message for an id that is known to be good."""
    return b"AUTHSVC/1 cancel %b\r\n\r\n" % request_id.encode("ascii")


def decode_cancel(data: bytes) -> str:
    """The id of the request that is given up.

    Raises:
        InvalidMessage: It is no such message.
    """
    match = _CANCEL.fullmatch(data)
    if match is None:
        raise InvalidMessage("not a cancellation of this wire format")
    return match[1].decode("ascii")


def unbroken(call: Call) -> Call:
    """The same call, which goes on when its requester gives up."""

    async def run(request: Request, threads: Threads) -> Response:
        threads.held.add(request)
        try:
            return await call(request, threads)
        finally:
            threads.held.discard(request)

    return run


class Counted(Protocol):
    """Where cancellations are counted."""

    cancelled: int
    malformed: int


class Cancellations:
    """What an app that is served hears of requests that are given up.

    ``early`` holds where the answers of those would go that wait here, or are another
    instance's, or are done.

    Args:
        session: Whose user answers.
        subject: Where requests come in.
        answers: From a request's subject to what its answer's subject begins with.
        workers: Who handle the requests; their jobs have ``request`` and ``answer_to``.
        held: Requests whose handling is not cancelled.
        stats: What is counted.
    """

    def __init__(
        self,
        session: Session,
        subject: str,
        answers: Callable[[bytes], str],
        *,
        workers: Workers[Any],
        held: Collection[object],
        stats: Counted,
    ) -> None:
        self.early: dict[str, None] = {}
        self._session = session
        self._subject = subject + CANCEL
        self._answers = answers
        self._workers = workers
        self._held = held
        self._stats = stats
        self._interest: Interest | None = None

    async def start(self) -> None:
        """Subscribe, outside the queue group: who has the request is not known."""
        # A credential that is narrowed to one app may not listen there.
        if self._session.login.app is None:
            try:
                self._interest = await self._session.listen(self._subject, self._receive)
            except PermissionDenied:
                _log.info("requests can't be cancelled here: this user may not hear of it")

    async def stop(self) -> None:
        """Unsubscribe."""
        if self._interest is not None:
            await self._session.forget(self._interest)

    def take(self, answer_to: str) -> bool:
        """Whether a request that is about to begin was given up; it is counted."""
        if answer_to not in self.early:
            return False
        del self.early[answer_to]
        self._stats.cancelled += 1
        return True

    def _receive(self, subject: bytes, data: bytes, _headers: bytes | None) -> None:
        try:
            start = self._answers(subject.removesuffix(CANCEL.encode("ascii")))
            answer_to = start + decode_cancel(data)
        except InvalidInput:
            self._stats.malformed += 1
            return
        job = self._workers.cancel(
            lambda job: job.answer_to == answer_to, lambda job: job.request in self._held
        )
        if job is not None:
            job.request.expires = 0.0  # nobody waits for the answer
        elif self._workers.waiting:
            self.early[answer_to] = None
            if len(self.early) > _MOST_EARLY:
                del self.early[next(iter(self.early))]
        else:
            self.early.clear()
