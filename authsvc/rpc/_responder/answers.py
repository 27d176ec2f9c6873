"""How answers leave: encoded, signed where that is wanted, now or when there is a connection."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from authsvc import subjects
from authsvc.errors import InvalidMessage, RpcError
from authsvc.rpc._messages.logs import fields
from authsvc.rpc._messages.message import Request, Response
from authsvc.rpc._responder.app import App, problem
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.frames import response_bytes
from authsvc.rpc._wire.signing import sealed

__all__ = ["Answers", "Job"]

_log = logging.getLogger(__name__)
_ANSWER_SECONDS = 10.0


class Job(NamedTuple):
    """A request and where its answer belongs."""

    request: Request
    answer_to: str


class Answers:
    """Who answers for an app.

    Args:
        app: What is served.
        session: Whose user answers.
    """

    def __init__(self, app: App, session: Session) -> None:
        self._signs = False
        self._service = app
        self._stats = app.stats
        self._session = session

    async def _answer(self, job: Job, response: Response) -> None:
        if (waiting := self._answer_at_once(job, response)) is not None:
            await self._send_later(job, waiting)

    def _answer_at_once(self, job: Job, response: Response) -> bytes | None:
        """``_answer`` as far as nothing has to be waited for; else what is still to be sent."""
        payload = self._encode(job.request, response)
        connection = self._session.connection
        if connection is None or len(payload) > connection.limit or connection.congested:
            return payload
        connection.send(job.answer_to, "", payload)
        self._stats.responses += 1
        return None

    async def _send_later(self, job: Job, payload: bytes) -> None:
        """Answer where there is no connection now, or where the answer does not fit it."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection = await self._session.usable()
                if len(payload) > connection.limit:
                    payload = self._too_large(job.request, payload, connection.limit)
                if connection.congested:
                    await connection.flow()
                connection.send(job.answer_to, "", payload)
        except (RpcError, TimeoutError):
            self._stats.unanswered += 1
            _log.info("an answer could not be sent: there is no connection")
        else:
            self._stats.responses += 1

    def _send_now(self, job: Job, response: Response) -> None:
        connection = self._session.connection
        if connection is None:
            self._stats.unanswered += 1
            return
        connection.send(job.answer_to, "", self._encode(job.request, response))

    def _encode(self, request: Request, response: Response) -> bytes:
        try:
            payload = response_bytes(request.id, response.status, response.pairs, response.content)
            return self._signed(request, payload) if self._signs else payload
        except (InvalidMessage, TypeError) as error:
            self._stats.errors += 1
            _log.error(
                "the handler of %s answered what can't travel: %s", request.path, error,
                extra=fields(request),
            )  # fmt: skip
            return self._encode(request, problem(500, "the responder failed"))

    def _signed(self, request: Request, payload: bytes) -> bytes:
        login = self._session.login
        subject = subjects.Request(request.requester, login.username, request.app)
        return sealed(payload, subject.response(request.id).text, login)

    def _too_large(self, request: Request, payload: bytes, limit: int) -> bytes:
        self._stats.errors += 1
        path, size = request.path, len(payload)
        _log.warning(
            "the answer of %s has %d bytes, %d at most", path, size, limit,
            extra=fields(request),
        )  # fmt: skip
        return self._encode(request, problem(507, f"the answer is larger than {limit} bytes"))
