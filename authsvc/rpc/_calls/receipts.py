"""Questions to JetStream, and their answers: receipts of what it stored, messages it was asked for.

Each question has an inbox subject of its own that nobody can guess, because a reply subject is
not checked: whoever knew it could make nats-server send something there. An answer that came by
it must still be one to this very question; anything else is counted and dropped.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from authsvc import subjects
from authsvc.errors import (
    DeadlineExceeded,
    Disconnected,
    InvalidMessage,
    PermissionDenied,
    RpcError,
)
from authsvc.rpc._calls.calls import ClientStats
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._session.owner import fresh
from authsvc.rpc._session.session import Session

__all__ = ["Question", "Receipts"]

_AGAIN_SECONDS = 5.0
_SWEEP_SECONDS = 0.5
_LISTEN_SECONDS = 10.0


class Question:
    """Something published, whose answer is waited for. It may be sent twice: that changes nothing.

    Args:
        subject: Where it is published.
        payload: What is published.
        read: From payload and headers of an answer to what it means; InvalidMessage for what is
            none.
        told: Called once, with what ``read`` found or the error that ended it.
        message_id: By which JetStream knows a request that comes twice, if it does.
        until: When it fails, on ``time.monotonic()``; None for never.
    """

    __slots__ = ("inbox", "message_id", "payload", "read", "sent", "subject", "told", "until")

    def __init__(
        self,
        subject: str,
        payload: bytes,
        *,
        read: Callable[[bytes, bytes | None], Any],
        told: Callable[[Any], None],
        message_id: str = "",
        until: float | None = None,
    ) -> None:
        self.subject = subject
        self.payload = payload
        self.read = read
        self.told = told
        self.message_id = message_id
        self.until = until
        self.inbox = ""
        self.sent = 0.0


class Receipts:
    """All questions of one client that are open.

    Args:
        session: Whose connection is used, and watched: what it may have lost is sent again.
        stats: What is counted.
    """

    def __init__(self, session: Session, stats: ClientStats) -> None:
        self._session = session
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._prefix = ""
        self._open: dict[bytes, Question] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._change = asyncio.Lock()

    async def listen(self) -> None:
        """Subscribe to the inbox, once; needed before ``ask``.

        Raises:
            PermissionDenied: nats-server refuses it.
            Disconnected: There is no connection.
        """
        if self._prefix:
            return
        async with self._change:
            await self._listen()

    async def _listen(self) -> None:
        if not self._prefix:
            prefix = f"{subjects.inbox_prefix(self._session.login.username)}.stored."
            try:
                async with asyncio.timeout(_LISTEN_SECONDS):
                    await self._session.listen(f"{prefix}*", self._receive)
            except TimeoutError as error:
                raise Disconnected("there was no connection to nats-server in time") from error
            self._prefix = prefix
            self._session.watch(self._changed)

    def ask(self, question: Question) -> None:
        """Send a question; it is sent again where that or its answer may be lost."""
        question.inbox = self._prefix + os.urandom(16).hex()
        self._open[question.inbox.encode("ascii")] = question
        if self._session.failure is not None:
            self._loop.call_soon(self._fail, question, fresh(self._session.failure))
            return
        self._send(question)
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def ask_later(self, question: Question, seconds: float) -> None:
        """``ask`` the same again, after so many seconds."""
        self._loop.call_later(seconds, self.ask, question)

    def forget(self, question: Question) -> None:
        """Its answer is not waited for any more."""
        self._open.pop(question.inbox.encode("ascii"), None)

    def refused(self, subject: str) -> None:
        """Fail the questions whose publish nats-server refused; the subject is in lower case."""
        for question in [one for one in self._open.values() if one.subject.lower() == subject]:
            self._stats.denied += 1
            self._fail(
                question,
                PermissionDenied(f"nats-server refuses publishing to {question.subject}"),
            )

    def fail_all(self, error: RpcError) -> None:
        """Fail every question."""
        for question in list(self._open.values()):
            self._fail(question, fresh(error))

    def stop(self) -> None:
        """Let the timer go."""
        self._session.unwatch(self._changed)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, question: Question, error: RpcError) -> None:
        self.forget(question)
        question.told(error)

    def _receive(self, subject: bytes, data: bytes, headers: bytes | None) -> None:
        question = self._open.get(subject)
        if question is None:
            self._stats.unknown += 1
            return
        try:
            answer = question.read(data, headers)
        except InvalidMessage:
            self._stats.malformed += 1
            return
        del self._open[subject]
        question.told(answer)

    def _send(self, question: Question) -> None:
        connection = self._session.connection
        question.sent = time.monotonic()
        if connection is None:
            return
        _publish(connection, question)

    def _changed(self) -> None:
        """The connection is another, or back: what was under way may be lost."""
        if self._session.failure is not None:
            self.fail_all(self._session.failure)
            return
        for question in self._open.values():
            self._send(question)

    def _sweep(self) -> None:
        self._timer = None
        now = time.monotonic()
        for question in list(self._open.values()):
            if question.until is not None and now >= question.until:
                self._stats.timeouts += 1
                self._fail(
                    question,
                    DeadlineExceeded(
                        f"nats-server did not confirm a message to {question.subject} in time; "
                        "it may have taken it"
                    ),
                )
            elif now - question.sent >= _AGAIN_SECONDS:
                self._send(question)
        if self._open:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._sweep)


def _publish(connection: Connection, question: Question) -> None:
    if question.message_id:
        connection.send_once(
            question.subject, question.inbox, question.message_id, question.payload
        )
    else:
        connection.send(question.subject, question.inbox, question.payload)
