"""Stands in for nats-server inside one event loop, for tests of apps: see authsvc.rpc.testing.

Everything above the connection is what runs in production: sessions, calls, services and the wire
format. Permissions are by subject as the contract writes them, section 2.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from functools import lru_cache, partial
from typing import NamedTuple, cast

from authsvc import subjects
from authsvc.errors import Disconnected
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc._memory.mail import Mail
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._session.connection import Connection, Events
from authsvc.rpc._session.credentials import CredentialSource, Login
from authsvc.rpc._session.parser import Listener, Taker
from authsvc.rpc._session.session import Session
from authsvc.rpc._sync.client import Client
from authsvc.rpc._wire.jetstream import API, stream_names

__all__ = ["BlockingMemoryClient", "Board", "MemoryClient"]

_NOBODY = b"NATS/1.0 503\r\n\r\n"


class _Subscription(NamedTuple):
    link: Link
    subject: str
    queue: str
    listener: Listener

    def hear(self, subject: str, reply: str, payload: bytes, headers: bytes | None = None) -> None:
        """Take a message."""
        name = subject.encode("ascii")
        if isinstance(self.listener, Taker):
            self.listener.take(name, reply.encode("ascii"), payload, headers)
        else:
            self.listener(name, payload, headers)


class Board:
    """Takes what is published to who listens, as nats-server does.

    Args:
        max_payload: Bytes of the largest message.
    """

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload
        self._subscriptions: dict[tuple[Link, int], _Subscription] = {}
        self._mail = Mail()

    def add(self, number: int, subscription: _Subscription) -> None:
        """Let a subscription hear what comes."""
        self._subscriptions[subscription.link, number] = subscription

    def remove(self, link: Link, number: int) -> None:
        """Let it hear nothing more."""
        self._subscriptions.pop((link, number), None)

    def leave(self, link: Link) -> None:
        """Forget all subscriptions of a link."""
        for key in [key for key in self._subscriptions if key[0] is link]:
            del self._subscriptions[key]
        self._mail.leave(link)

    def publish(
        self, link: Link, subject: str, reply: str, payload: bytes, message_id: str = ""
    ) -> None:
        """Deliver to everybody who listens, to one of each queue group, and keep what is to be.

        Where nobody listens or keeps it, that is said.
        """
        if subject.startswith("$JS."):
            hear = partial(self._hand, link, reply)
            answer = self._mail.api(subject, payload, link, hear)
        elif subject.endswith(".stored"):
            answer = self._mail.store(subject, message_id, payload)
            if not self._deliver(subject, payload) and answer is None:
                self._answer(link, reply, b"", _NOBODY)
        else:
            answer = None
            if not self._deliver(subject, payload):
                self._answer(link, reply, b"", _NOBODY)
        if answer is not None:
            self._answer(link, reply, answer)

    def _deliver(self, subject: str, payload: bytes) -> bool:
        groups: dict[str, list[_Subscription]] = defaultdict(list)
        heard: list[_Subscription] = []
        for found in self._subscriptions.values():
            if subjects.covers(found.subject, subject):
                (groups[found.queue] if found.queue else heard).append(found)
        heard += [random.choice(members) for members in groups.values()]  # noqa: S311
        for found in heard:
            found.hear(subject, "", payload)
        return bool(heard)

    def _answer(self, link: Link, inbox: str, payload: bytes, headers: bytes | None = None) -> None:
        """What nats-server itself says, to who asked."""
        for found in self._listening(link, inbox):
            found.hear(inbox, "", payload, headers)

    def _hand(self, link: Link, inbox: str, subject: str, ack: str, payload: bytes) -> None:
        """What JetStream hands out: it comes by the inbox, and shows its own subject."""
        for found in self._listening(link, inbox):
            found.hear(subject, ack, payload)

    def _listening(self, link: Link, inbox: str) -> list[_Subscription]:
        return [
            found
            for found in self._subscriptions.values()
            if inbox and found.link is link and subjects.covers(found.subject, inbox)
        ]


class Link:
    """One person's connection to the board: what ``Connection`` is to nats-server."""

    def __init__(self, board: Board, events: Events, username: str) -> None:
        self.limit = board.max_payload
        self.congested = False
        self.is_connected = self.is_live = True
        self._board = board
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._publish, self._subscribe = _allowed(subjects.token(username))
        self._last = 0

    async def listen(self, subject: str, queue: str, listener: Listener) -> int:
        """Subscribe; the answer is the number of it."""
        if not self.is_live:
            raise Disconnected("the connection was closed")
        self._last += 1
        if any(subjects.covers(allowed, subject) for allowed in self._subscribe):
            self._board.add(self._last, _Subscription(self, subject, queue, listener))
        else:
            self._events.refused("subscription", subject.lower())
        return self._last

    async def forget(self, number: int) -> None:
        """Unsubscribe."""
        self._board.remove(self, number)

    def drop(self, number: int) -> None:
        """The same, at once."""
        self._board.remove(self, number)

    def send(self, subject: str, reply: str, payload: bytes, message_id: str = "") -> None:
        """Publish, soon."""
        if not self.is_live:
            raise Disconnected("there is no connection to nats-server now")
        if _may_publish(self._publish, subject):
            message = (self, subject, reply, bytes(payload), message_id)
            self._loop.call_soon(self._board.publish, *message)
        else:
            self._loop.call_soon(self._events.refused, "publish", subject.lower())

    def send_once(self, subject: str, reply: str, message_id: str, payload: bytes) -> None:
        """Publish what is to be kept once."""
        self.send(subject, reply, payload, message_id)

    async def barrier(self, _timeout: float = 0) -> None:
        """Return when everything that was sent so far has arrived."""
        await asyncio.sleep(0)

    async def finish(self) -> None:
        """The same, at the end."""
        await asyncio.sleep(0)

    async def flow(self) -> None:
        """Nothing ever waits for a socket."""

    async def shut(self) -> None:
        """Close."""
        self.is_connected = self.is_live = False
        self._board.leave(self)


class _Session(Session):
    """A session whose connections lead to a board."""

    patience = 1.0  # a test that left a handler waiting is over

    def __init__(self, board: Board, source: CredentialSource, owner: AsyncClient) -> None:
        super().__init__(source, owner, "authsvc.rpc.testing")
        self._board = board

    async def _open(self, login: Login) -> Connection:
        # Not a Connection, whose base class is nats-py's client, but all that a session asks of it.
        return cast("Connection", Link(self._board, self, login.username))


class _Known:
    """Says who somebody is; nobody asks for a proof."""

    def __init__(self, username: str) -> None:
        self._login = Login(
            username=subjects.username(username),
            jwt="",
            key=KeyPair.generate(Prefix.USER),
            servers=(),
        )

    async def obtain(self, current: Login | None) -> Login:  # noqa: ARG002  it never ends
        """The one credential there is."""
        return self._login

    async def close(self) -> None:
        """Nothing is held."""


class MemoryClient(AsyncClient):
    """An AsyncClient that is connected to a board.

    Args:
        board: Where messages go.
        username: Who this is.
    """

    def __init__(self, board: Board, username: str) -> None:
        super().__init__(source=_Known(username))
        self._board = board

    def _session_of(self, source: CredentialSource) -> Session:
        return _Session(self._board, source, self)


class BlockingMemoryClient(Client):
    """A Client that is connected to a board, which its own event loop's thread alone may use.

    Args:
        board: Where messages go.
        username: Who this is.
    """

    def __init__(self, board: Board, username: str) -> None:
        super().__init__(source=_Known(username))
        self._client = MemoryClient(board, username)


@lru_cache(1024)
def _may_publish(allowed: tuple[str, ...], subject: str) -> bool:
    return any(subjects.matches(pattern, subject) for pattern in allowed)


def _allowed(user: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a user may publish and subscribe to; contract, section 2."""
    requests, responses = stream_names(user)
    return (
        (
            f"requests.{user}.>",
            f"responses.*.{user}.>",
            f"{API}.CONSUMER.MSG.NEXT.{requests}.*",
            f"{API}.STREAM.MSG.GET.{responses}",
            f"$JS.ACK.{requests}.>",
            f"$JS.ACK._.*.{requests}.>",
        ),
        (f"responses.{user}.>", f"requests.*.{user}.>", f"_INBOX.{user}.>"),
    )
