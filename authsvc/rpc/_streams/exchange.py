"""One request whose bodies may travel in chunks, on the responder's side."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from authsvc.errors import Disconnected, InvalidMessage, PayloadTooLarge, RpcError
from authsvc.rpc._messages.message import Response
from authsvc.rpc._streams.liveness import Liveness
from authsvc.rpc._wire.chain import Sealing, Unsealing
from authsvc.rpc._wire.chunks import (
    CancelFrame,
    ChunkFrame,
    CreditFrame,
    Frame,
    HeadFrame,
    OpenFrame,
    encode_cancel,
    encode_chunk,
    encode_credit,
    encode_head,
)
from authsvc.rpc._wire.flow import WHOLE_BYTES, Inflow, Outflow, piece_bytes
from authsvc.rpc._wire.frames import Pairs
from authsvc.rpc._wire.signing import sealed

if TYPE_CHECKING:
    from authsvc.rpc._streams.exchanges import Table

__all__ = ["Exchange"]

_log = logging.getLogger(__name__)
_PROTOCOL, _FAILED, _SILENT = 400, 500, 504


class Exchange:
    """A request and its response, while either is under way.

    ``begun`` says whether a head was sent, ``replied`` whether a whole response was; ``gone``
    whether the requester gave up, ``stopped`` whether its handling was cancelled for that.
    ``answer`` sends a response in one message; ``key`` is its place in the table.
    ``on_gone`` may take the place of ``stop``. Where only signed requests count, ``opening`` is
    what began it, and chunks are dropped until ``unsealing`` checks them.

    Args:
        frame: What began it.
        answer_to: The subject of the response.
        table: Where it belongs.
    """

    # Nothing here leads back to this: what is left behind at 64 calls at a time costs the most.
    __slots__ = (
        "_alive",
        "_allowed",
        "_answer_to",
        "_inflow",
        "_outflow",
        "_sealing",
        "_size",
        "_table",
        "_unread",
        "answer",
        "begun",
        "closed",
        "gone",
        "id",
        "key",
        "on_gone",
        "opening",
        "replied",
        "stopped",
        "task",
        "unsealing",
    )

    def __init__(self, frame: OpenFrame, answer_to: str, table: Table) -> None:
        self.id = frame.request.id
        self.gone = self.begun = self.replied = self.closed = self.stopped = False
        self.task: asyncio.Task[Any] | None = None
        self.key: tuple[bytes, bytes]
        self.answer: Callable[[Response], Awaitable[None]]
        self.on_gone: Callable[[], None] | None = None
        self._answer_to = answer_to
        self._table = table
        self._alive = Liveness()
        self._outflow: Outflow | None = None
        self._sealing: Sealing | None = None
        self.unsealing: Unsealing | None = None
        self.opening = frame if table.demands is not None else None
        self._allowed = frame.window
        # Most bodies came with the request: what receives chunks is made for the others only.
        self._unread = frame.request.content
        self._size = size = len(self._unread)
        self._inflow: Inflow | None = None
        if frame.more:
            self._inflow = Inflow(
                self._grant, table.window, granted=size, limit=max(table.limit, size)
            )
            self._inflow.take(0, self._unread, last=False)

    @property
    def instance(self) -> str:
        """Which of the app's responders this is."""
        return self._table.instance

    # The request's body.

    @property
    def complete(self) -> bool:
        """Whether the whole body of the request is here."""
        return self._inflow is None or self._inflow.complete

    @property
    def drained(self) -> bool:
        """Whether nothing of the request's body is left to be read."""
        return not self._unread if self._inflow is None else self._inflow.drained

    async def read(self) -> bytes:
        """Some bytes of the request's body; none at its end.

        Raises:
            Disconnected: The requester gave up or was silent for too long.
            PayloadTooLarge: The body is larger than the service takes.
        """
        if self._inflow is None:
            unread, self._unread = self._unread, b""
            return unread
        if not self._inflow.complete:
            self._table.begun(self)
        return await self._inflow.read()

    # The response.

    def _fits(self, size: int) -> bool:
        """Whether a body of this size goes in one message."""
        connection = self._table.session.connection
        return size <= WHOLE_BYTES and (connection is None or size <= connection.limit // 2)

    async def start(self, status: int, pairs: Pairs, content: bytes = b"") -> None:
        """Begin a response in chunks.

        Args:
            status: From 200 to 599.
            pairs: Its headers.
            content: The first bytes of its body.

        Raises:
            InvalidMessage: Status or a header can't travel.
            Disconnected: The requester gave up, or there is no connection.
        """
        if self.gone:
            raise Disconnected("the requester gave up")
        piece = piece_bytes(self._table.session.connection)
        first = content if len(content) <= min(piece // 2, self._allowed) else b""
        head = encode_head(HeadFrame(self.id, self._table.instance, status, pairs, first))
        if self._table.signs:
            head = sealed(head, self._answer_to, self._table.session.login)
            self._sealing = Sealing(self._answer_to, self.id, head)
        self._outflow = Outflow(
            self._send_chunk, allowed=self._allowed, offset=len(first), piece=piece
        )
        self.begun = True
        self._table.begun(self)
        await self._send(head)
        if not first:
            await self._outflow.write(content)

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """More bytes of the response's body; waits until they may be sent.

        Raises:
            Disconnected: The requester gave up or was silent, or there is no connection.
        """
        if self._outflow is None:
            raise RuntimeError("a response is started before its body is written")
        await self._outflow.write(data, last=last)

    async def reply(self, response: Response) -> None:
        """Send a response whose body is here: in one message, or in chunks if it is large.

        Raises:
            Disconnected: The requester gave up, or there is no connection.
        """
        self.replied = True
        content = response.content
        if isinstance(content, bytes) and not self._fits(len(content)):
            await self.start(response.status, response.pairs)
            await self.write(content, last=True)
        else:
            await self.answer(response)

    async def finish(self, response: Response) -> None:
        """Send what is left to be sent."""
        if self._outflow is not None:
            if not self._outflow.complete and not self.gone:
                self.cancel(_FAILED)
        elif not self.replied and not self.gone:
            await self.reply(response)

    # What comes from the requester.

    def receive(self, frame: Frame) -> None:
        """Take a part that came for this exchange."""
        self._alive.heard = time.monotonic()
        if isinstance(frame, ChunkFrame):
            if self._inflow is None:
                return  # sent twice, while a renewed connection takes over
            try:
                for part in self._proven(frame):
                    self._inflow.take(part.offset, part.content, last=part.last)
            except PayloadTooLarge as error:
                self._inflow.fail(error)
            except InvalidMessage as error:
                _log.info("a request's body broke the rules: %s", error)
                self.cancel(_PROTOCOL)
                self.give_up(Disconnected("the requester broke the rules of the wire format"))
        elif isinstance(frame, CreditFrame):
            self._allowed = max(self._allowed, frame.total)
            if self._outflow is not None:
                self._outflow.credit(frame.total)
        elif isinstance(frame, CancelFrame):
            self.give_up(Disconnected("the requester gave up"))

    def _proven(self, frame: ChunkFrame) -> Iterable[ChunkFrame]:
        """The chunks that count now that this one came."""
        demands = self._table.demands
        if demands is None:
            return (frame,)
        if self.unsealing is None:
            demands(1)
            return ()
        before = self.unsealing.refused
        found = list(self.unsealing.take(frame))
        demands(self.unsealing.refused - before)
        return found

    def give_up(self, error: RpcError) -> None:
        """Let whatever waits here end with this error."""
        if self.gone or self.closed:
            return
        self.gone = True
        if self._inflow is not None:
            self._inflow.fail(error)
        if self._outflow is not None:
            self._outflow.fail(error)
        (self.on_gone or self.stop)()

    def stop(self) -> None:
        """Cancel the task that handles it, if one does."""
        if self.task is not None:
            self.stopped = True
            self.task.cancel()

    def cancel(self, status: int) -> None:
        """Tell the requester that no more comes."""
        connection = self._table.session.connection
        if connection is not None:
            connection.send(self._answer_to, "", encode_cancel(CancelFrame(self.id, status)))

    def beat(self, now: float) -> None:
        """See Link."""
        error = self._alive.lost(now, self._inflow)
        if error is None and self._alive.stalled(now, self._inflow, self._outflow):
            error = Disconnected("the requester takes and sends nothing")
        if error is not None:
            self.cancel(_SILENT)
            self.give_up(error)
        elif self._alive.should_speak(now):
            self._grant(self._size if self._inflow is None else self._inflow.granted)

    def _grant(self, total: int) -> None:
        connection = self._table.session.connection
        if connection is not None:
            self._alive.spoke = time.monotonic()
            frame = CreditFrame(self.id, self._table.instance, total)
            connection.send(self._answer_to, "", encode_credit(frame))

    async def _send_chunk(self, offset: int, content: bytes, last: bool) -> None:  # noqa: FBT001
        signature = b""
        if self._sealing is not None:
            key = self._table.session.login.key
            signature = self._sealing.signature(key, offset, content, last=last)
        await self._send(encode_chunk(ChunkFrame(self.id, offset, last, content, signature)))

    async def _send(self, payload: bytes) -> None:
        connection = self._table.session.connection
        if connection is None:
            raise Disconnected("there is no connection to nats-server now")
        self._alive.spoke = time.monotonic()
        connection.send(self._answer_to, "", payload)
        if connection.congested:
            await connection.flow()
