"""The requester of an exchange in chunks, as far as it speaks: chunks, credit, cancellation."""

from __future__ import annotations

import asyncio
import time
from functools import cached_property

from authsvc.errors import DeadlineExceeded, Disconnected
from authsvc.rpc._calls.call import Call
from authsvc.rpc._calls.calls import Calls
from authsvc.rpc._session.session import Session
from authsvc.rpc._streams.exchanges import ALL
from authsvc.rpc._streams.heads import WriteTimedOut
from authsvc.rpc._streams.liveness import Liveness
from authsvc.rpc._streams.proofs import Proof
from authsvc.rpc._wire.chain import Sealing
from authsvc.rpc._wire.chunks import (
    CancelFrame,
    ChunkFrame,
    CreditFrame,
    encode_cancel,
    encode_chunk,
    encode_credit,
)
from authsvc.rpc._wire.flow import Inflow, Outflow, piece_bytes, window_bytes

__all__ = ["Speaker"]


class Speaker(Call):
    """A request with both of its bodies, and what is said to its responder.

    Args:
        session: Who calls.
        calls: The table of calls.
        subject: The request's subject.
        request_id: The request's id.
        payload: What opens it.
        sent: Bytes of the request's body in there.
        window: Bytes of the response's body that may come before there is more credit.
        limit: Bytes of the response's body, at most.
        sign: Whether chunks are signed, as ``payload`` is.
    """

    def __init__(
        self,
        session: Session,
        calls: Calls,
        subject: str,
        request_id: str,
        payload: bytes,
        *,
        sent: int,
        window: int,
        limit: int,
        sign: bool = False,
    ) -> None:
        super().__init__(subject, request_id, payload, idempotent=False)
        self._session = session
        self._calls = calls
        self._instance: str | None = None
        self._sent = sent
        self._window = window
        self._limit = limit
        self._sign = sign
        self._proof: Proof | None = None
        if calls.trust is not None:
            self._proof = Proof(self.key.decode("ascii"), request_id, calls.trust, calls.stats)

    # Not needed where both bodies come whole.

    @cached_property
    def _alive(self) -> Liveness:
        return Liveness()

    @cached_property
    def _inflow(self) -> Inflow:
        return Inflow(
            self._grant,
            lambda: window_bytes(len(self._calls.streams)),
            granted=self._window,
            limit=self._limit,
        )

    @cached_property
    def _outflow(self) -> Outflow:
        piece = piece_bytes(self._session.connection)
        return Outflow(self._send_chunk, allowed=self._sent, offset=self._sent, piece=piece)

    @cached_property
    def _sealing(self) -> Sealing:
        return Sealing(f"{self.subject}.{self._instance}.{self.id}", self.id, self.payload)

    async def _write(self, piece: bytes, timeout: float | None, *, last: bool) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._outflow.write(piece, last=last)
        except TimeoutError as error:
            if isinstance(error, DeadlineExceeded):
                raise
            raise WriteTimedOut("the responder took no more of the body in time") from error

    async def _send_chunk(self, offset: int, content: bytes, last: bool) -> None:  # noqa: FBT001
        signature = b""
        if self._sign:
            key = self._session.login.key
            signature = self._sealing.signature(key, offset, content, last=last)
        frame = ChunkFrame(self.id, offset, last, content, signature)
        connection = self._session.connection
        if connection is None:
            raise Disconnected("there is no connection to nats-server now")
        self._alive.spoke = time.monotonic()
        connection.send(f"{self.subject}.{self._instance}.{self.id}", "", encode_chunk(frame))
        if connection.congested:
            await connection.flow()

    def _grant(self, total: int) -> None:
        if self._instance is not None:
            self._alive.spoke = time.monotonic()
            self._say(encode_credit(CreditFrame(self.id, self._instance, total)))

    def _cancel(self, status: int) -> None:
        self._say(encode_cancel(CancelFrame(self.id, status)))

    def _say(self, payload: bytes) -> None:
        connection = self._session.connection
        if connection is not None:
            connection.send(f"{self.subject}.{self._instance or ALL}.{self.id}", "", payload)
