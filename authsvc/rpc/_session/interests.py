"""Subscriptions that outlive the connection they were made on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from authsvc.errors import Disconnected, PermissionDenied
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._session.parser import Listener

__all__ = ["Interest", "Interests"]

_log = logging.getLogger(__name__)
# In a cluster, interest takes a moment to reach the other servers.
_OVERLAP_SECONDS = 0.1


@dataclass(eq=False, slots=True)
class Interest:
    """One subscription, and its number on each connection that has it."""

    subject: str
    queue: str
    receiver: Listener
    numbers: dict[Connection, int] = field(default_factory=dict)


class Interests:
    """All subscriptions of a session. Its callers take turns: no two calls at a time."""

    def __init__(self) -> None:
        self._all: list[Interest] = []
        self._refused: set[str] = set()

    def refused(self, subject: str) -> None:
        """nats-server refuses the subscription; the subject is in lower case."""
        self._refused.add(subject)

    async def add(self, connection: Connection, interest: Interest) -> None:
        """Subscribe; nats-server knows of it when this returns.

        Raises:
            PermissionDenied: It refuses.
            Disconnected: The connection broke meanwhile; nothing was added.
        """
        self._refused.discard(interest.subject.lower())
        try:
            await self._listen(connection, interest)
            await connection.barrier()
        except (Disconnected, asyncio.CancelledError):
            # nats-py would subscribe again by itself, beside the next try; and what was given
            # up would go on taking messages.
            await self._forget(connection, interest)
            raise
        if interest.subject.lower() in self._refused:
            await self._forget(connection, interest)
            raise PermissionDenied(f"nats-server refuses subscribing to {interest.subject}")
        self._all.append(interest)

    async def remove(self, interest: Interest) -> None:
        """Unsubscribe; everything that was under way has been received when this returns."""
        if interest in self._all:
            self._all.remove(interest)
        for connection, number in list(interest.numbers.items()):
            await self._forget(connection, interest)
            if connection.is_connected:
                with contextlib.suppress(Disconnected):
                    await connection.finish()
            connection.drop(number)

    async def join(self, new: Connection) -> None:
        """Subscribe to everything on one more connection.

        Raises:
            Disconnected: It broke meanwhile.
        """
        for interest in self._all:
            self._refused.discard(interest.subject.lower())
            await self._listen(new, interest)
        await new.barrier()
        for interest in self._all:
            if interest.subject.lower() in self._refused:
                _log.error("nats-server now refuses subscribing to %s", interest.subject)

    async def leave(self, old: Connection) -> None:
        """Hear a connection out and close it; another one has everything."""
        try:
            if old.is_connected:
                await asyncio.sleep(_OVERLAP_SECONDS)
                for interest in self._all:
                    if interest.queue and old in interest.numbers:
                        await old.forget(interest.numbers[old])
                # Answers of nats-server to what was published here come here.
                await old.finish()
        except Disconnected:
            _log.debug("the old connection broke before it was closed")
        finally:
            for interest in self._all:
                interest.numbers.pop(old, None)
            await old.shut()

    @staticmethod
    async def _listen(connection: Connection, interest: Interest) -> None:
        interest.numbers[connection] = await connection.listen(
            interest.subject, interest.queue, interest.receiver
        )

    @staticmethod
    async def _forget(connection: Connection, interest: Interest) -> None:
        if (number := interest.numbers.pop(connection, None)) is not None:
            await connection.forget(number)
