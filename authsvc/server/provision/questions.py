"""A question that every nats-server answers for itself, and when its answers are complete."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable

from authsvc.server.provision.connection import Connection
from authsvc.server.provision.live_servers import LiveServers

__all__ = ["Questions"]

_SETTLE_SECONDS = 0.01
_FIRST_SETTLE_SECONDS = 0.25
_SILENT_SECONDS = 0.3
"""How long to wait where every server that is known owes an answer already."""

log = logging.getLogger(__name__)


class Questions:
    """The questions that are open on one connection.

    Args:
        connection: To some server; it hands the question on.
        inbox: Answers arrive one token below it; the connection's owner subscribes.
        live: The servers that are known.
    """

    def __init__(self, connection: Connection, inbox: str, live: LiveServers) -> None:
        self._connection = connection
        self._inbox = inbox
        self._live = live
        self._open: dict[str, asyncio.Queue[bytes | None]] = {}
        # Replicas share the inbox: what was confirmed to one must not count for another.
        self._own = secrets.token_hex(8)
        self._count = 0

    async def ask(
        self,
        subject: str,
        body: bytes,
        add: Callable[[bytes], None],
        complete: Callable[[], bool],
        seconds: float,
        *,
        settle: float = _SETTLE_SECONDS,
    ) -> bool:
        """Ask all servers.

        Args:
            subject: Where they listen.
            body: What to ask.
            add: Takes each answer.
            complete: Whether all that are expected have answered.
            seconds: How long to wait for them.
            settle: Seconds that are left after them for servers that nobody knew of.

        Returns:
            Whether the connection lasted until all had answered or the time was over.
        """
        client = self._connection.client
        if client is None:
            return False
        self._count += 1
        number = f"{self._own}-{self._count}"
        answers = self._open[number] = asyncio.Queue()
        if self._live.sightings() and not self._live.awake():
            seconds = _SILENT_SECONDS
        try:
            await client.publish(subject, body, reply=f"{self._inbox}.{number}")
            first = not self._live.sightings()
            settle = _FIRST_SETTLE_SECONDS if first else settle
            loop = asyncio.get_running_loop()
            until = limit = loop.time() + seconds
            while self._connection.client is client:
                async with asyncio.timeout_at(until):
                    answer = await answers.get()
                if answer is not None:
                    add(answer)
                if first or complete():
                    until = min(limit, loop.time() + settle)
        except TimeoutError:
            return self._connection.client is client
        except Exception as error:  # noqa: BLE001  nats-py raises many kinds; all mean: not sent
            log.warning("%s: %s", subject, error)
        finally:
            del self._open[number]
        return False

    def answer(self, number: str, body: bytes) -> bool:
        """Hand an answer to its question; whether that was still open."""
        if number not in self._open:
            return False
        self._open[number].put_nowait(body)
        return True

    def wake(self) -> None:
        """Say that fewer answers are expected now, or none any more."""
        for queue in self._open.values():
            queue.put_nowait(None)
