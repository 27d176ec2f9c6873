"""All requests of a service whose bodies may travel in chunks, and how their chunks find them.

The first message comes by the queue group, so that one of the app's responders gets it. What
follows comes on a subject of that responder alone; what must reach whichever it was, on one that
each of them hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from authsvc.errors import InvalidMessage, PermissionDenied, RpcError
from authsvc.rpc._session.interests import Interest
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._wire.chunks import CancelFrame, OpenFrame, decode_part
from authsvc.rpc._wire.flow import Pulse, window_bytes

__all__ = ["ALL", "Exchanges", "Table"]

_log = logging.getLogger(__name__)

ALL = "all"
"""Stands for the responder's instance where each of them is meant."""

_ALL = ALL.encode("ascii")
_CLOSED = 503
_MOST_EARLY = 1024


class Counted(Protocol):
    """What is counted."""

    malformed: int


class Table:
    """What an exchange needs of the service that it belongs to.

    Args:
        session: Whose user answers.
        instance: Which of the app's responders this is.
        window: How many bytes of a body may be under way now.
        limit: Bytes of a request's body, at most.
        begun: Told that chunks are under way.

    ``signs`` is whether responses are signed; ``demands``, where only signed requests count, is
    told how many chunks were refused.
    """

    def __init__(
        self,
        session: Session,
        instance: str,
        *,
        window: Callable[[], int],
        limit: int,
        begun: Callable[[Exchange], None],
    ) -> None:
        self.session = session
        self.instance = instance
        self.window = window
        self.limit = limit
        self.begun = begun
        self.signs = False
        self.demands: Callable[[int], None] | None = None


class Exchanges:
    """The table.

    Args:
        session: Whose user answers.
        subject: What the service subscribes to.
        stats: Where messages that are none of ours are counted.
        limit: Bytes of a request's body, at most.
    """

    def __init__(self, session: Session, subject: str, stats: Counted, *, limit: int) -> None:
        self.instance = os.urandom(16).hex()
        self._stats = stats
        self._session = session
        self._subject = subject
        self._open: dict[tuple[bytes, bytes], Exchange] = {}
        # Given up before they came, as can be where a renewed connection takes over.
        self._early: dict[tuple[bytes, bytes], None] = {}
        self._pulse = Pulse()
        self._table = Table(
            session,
            self.instance,
            window=lambda: window_bytes(len(self._open)),
            limit=limit,
            begun=self._pulse.add,
        )
        self._interests: list[Interest] = []

    def sign(self) -> None:
        """Sign responses."""
        self._table.signs = True

    def demand_signed(self, refused: Callable[[int], None]) -> None:
        """Let only signed requests count.

        Args:
            refused: Told how many chunks were not.
        """
        self._table.demands = refused

    def __len__(self) -> int:
        return len(self._open)

    def open(
        self, subject: bytes, frame: OpenFrame, requester: str, app: str, answer_to: str
    ) -> StreamedRequest | None:
        """Begin one; None if its id is under way already, or was given up.

        Args:
            subject: The request's.
            frame: What came.
            requester: Who the subject says has sent it.
            app: The app's name.
            answer_to: The response's subject.
        """
        key = subject, frame.request.id.encode("ascii")
        if key in self._early:
            del self._early[key]
            return None
        if key in self._open:
            self._stats.malformed += 1
            return None
        exchange = self._open[key] = Exchange(frame, answer_to, self._table)
        exchange.key = key
        return StreamedRequest(requester, app, frame, exchange)

    def forget(self, exchange: Exchange) -> None:
        """It is over, or was never begun."""
        if not exchange.closed:
            exchange.closed = True
            del self._open[exchange.key]
            self._pulse.discard(exchange)

    async def handle(self, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
        """Handle one in this task, which is cancelled when the requester gives up.

        Args:
            exchange: It.
            work: What answers it.
        """
        task = exchange.task = asyncio.current_task()
        assert task is not None  # noqa: S101  workers are tasks
        try:
            await work
        except asyncio.CancelledError:
            if not exchange.stopped or task.cancelling() > 1:
                exchange.cancel(_CLOSED)
                raise
        except RpcError as error:
            _log.info("a response broke off: %s", error)
        finally:
            exchange.task = None
            self.forget(exchange)
            if exchange.stopped:
                # A cancellation that was asked for late must not reach the next request.
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                task.uncancel()

    async def close(self) -> None:
        """Take no more chunks."""
        for exchange in list(self._open.values()):
            exchange.cancel(_CLOSED)
            self.forget(exchange)
        while self._interests:
            await self._session.forget(self._interests.pop())

    async def listen(self) -> None:
        """Subscribe to what follows such requests; they may come when this returns."""
        try:
            for instance in (self.instance, ALL):
                subject = f"{self._subject}.{instance}.*"
                self._interests.append(await self._session.listen(subject, self._receive))
        except PermissionDenied as error:
            # A credential from before there were such bodies.
            _log.warning("bodies can't come or go in chunks: %s", error)

    def _receive(self, subject: bytes, data: bytes, _headers: bytes | None) -> None:
        start, instance, request_id = subject.rsplit(b".", 2)
        exchange = self._open.get((start, request_id))
        if exchange is None and instance != _ALL:
            return  # over already, or another instance's
        try:
            frame = decode_part(data)
        except InvalidMessage:
            self._stats.malformed += 1
            return
        if frame.id.encode("ascii") != request_id:
            self._stats.malformed += 1
        elif exchange is not None:
            exchange.receive(frame)
        elif isinstance(frame, CancelFrame):
            self._early[start, request_id] = None
            if len(self._early) > _MOST_EARLY:
                del self._early[next(iter(self._early))]
