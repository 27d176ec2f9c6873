"""``nats micro ls``, ``info`` and ``stats``, where an administrator granted what they need.

Users may not listen to ``$SRV.>`` nor publish to others' inboxes: without such grants nothing is
subscribed, and ``/.well-known/authsvc/info`` and ``stats`` say the same.

Source: https://github.com/nats-io/nats-architecture-and-design (adr/ADR-32.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from authsvc import subjects
from authsvc.claims import Permissions, decode_user
from authsvc.errors import InvalidInput, RpcError
from authsvc.rpc._responder.statistics import describe, ping, statistics
from authsvc.rpc._session.interests import Interest
from authsvc.rpc._session.parser import Taker
from authsvc.rpc._session.session import Session

if TYPE_CHECKING:
    from authsvc.rpc._responder.described import Described

__all__ = ["Discovery"]

_log = logging.getLogger(__name__)
_VERBS: dict[str, Callable[[Described], dict[str, Any]]] = {
    "PING": ping,
    "INFO": describe,
    "STATS": statistics,
}


class Discovery:
    """Answers the NATS service API's questions while a service is served.

    Args:
        service: What is told of.
        session: Whose user answers.
    """

    def __init__(self, service: Described, session: Session) -> None:
        self._service = service
        self._session = session
        self._interests: list[Interest] = []

    async def start(self) -> None:
        """Subscribe to what the user's JWT grants."""
        allowed = self._permissions().subscribe.allow
        name = subjects.token(self._service.name)
        for verb, answer in _VERBS.items():
            for end in ("", f".{name}", f".{name}.{self._service.id}"):
                subject = f"$SRV.{verb}{end}"
                if any(subjects.covers(entry, subject) for entry in allowed):
                    taker = Taker(partial(self._answer, answer))
                    with suppress(RpcError):
                        self._interests.append(await self._session.listen(subject, taker))

    async def stop(self) -> None:
        """Unsubscribe."""
        while self._interests:
            await self._session.forget(self._interests.pop())

    def _permissions(self) -> Permissions:
        try:
            return decode_user(self._session.login.jwt).permissions
        except InvalidInput:
            return Permissions.nothing()  # a session without nats-server has no JWT

    def _answer(
        self,
        answer: Callable[[Described], dict[str, Any]],
        _subject: bytes,
        reply: bytes,
        _data: bytes,
        _headers: bytes | None,
    ) -> None:
        """Answer an inbox and nothing else: a reply subject is whatever the sender likes.

        And only one that was granted for this: what users may publish to otherwise is theirs.
        """
        connection = self._session.connection
        inbox = reply.decode("latin-1")
        if connection is None or not inbox.startswith("_INBOX."):
            return
        allowed = self._permissions().publish.allow
        try:
            granted = any(subjects.matches(entry, inbox) for entry in allowed)
        except InvalidInput:
            return
        if not granted:
            _log.info("a question of the NATS service API can't be answered: no grant for inboxes")
            return
        with suppress(RpcError):
            connection.send(inbox, "", orjson.dumps(answer(self._service)))
