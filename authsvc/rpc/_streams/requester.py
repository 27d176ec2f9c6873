"""One request whose bodies may travel in chunks, on the requester's side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from functools import cached_property
from typing import Any, NamedTuple

from authsvc.errors import (
    DeadlineExceeded,
    Disconnected,
    InvalidMessage,
    NoResponder,
    PayloadTooLarge,
    PermissionDenied,
    RemoteError,
    RpcError,
)
from authsvc.rpc._calls.calls import Call, Calls
from authsvc.rpc._messages.message import Response
from authsvc.rpc._session.session import Session
from authsvc.rpc._session.trust import Trust, Untrusted
from authsvc.rpc._streams.exchanges import ALL
from authsvc.rpc._streams.liveness import Liveness
from authsvc.rpc._wire.chain import Sealing, Unsealing
from authsvc.rpc._wire.chunks import (
    CancelFrame,
    ChunkFrame,
    CreditFrame,
    Frame,
    HeadFrame,
    decode_part,
    encode_cancel,
    encode_chunk,
    encode_credit,
    encode_head,
)
from authsvc.rpc._wire.flow import (
    Inflow,
    Outflow,
    piece_bytes,
    window_bytes,
)
from authsvc.rpc._wire.frames import Pairs
from authsvc.rpc._wire.signing import signature_of, signed_text

__all__ = [
    "DAY",
    "Broken",
    "Head",
    "Opened",
    "Timeouts",
    "WriteTimedOut",
]

DAY = 86400.0
_GAVE_UP, _PROTOCOL, _SILENT = 499, 400, 504
_MOST_UNPROVEN = 256


class Timeouts(NamedTuple):
    """Seconds to wait, each None for no limit.

    Args:
        connect: For a connection.
        read: For the response's head after the request was sent, and for each further piece.
        write: For the responder to take a piece of the request's body.
    """

    connect: float | None = 30.0
    read: float | None = 30.0
    write: float | None = 30.0


class WriteTimedOut(DeadlineExceeded):
    """The responder took no more of the request's body."""


class Broken(Disconnected):
    """The responder's messages broke the rules of the wire format."""


class Head(NamedTuple):
    """What a response begins with; the body is whole, or comes in chunks."""

    status: int
    pairs: Pairs
    content: bytes
    whole: bool


class Opened(Call):
    """A request that was opened, and its response; the entry in the table until that begins.

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
        end = f"{subject[len('requests') :]}.{request_id}"
        super().__init__(
            subject, b"responses" + end.encode("ascii"), "_INBOX" + end, payload, idempotent=False
        )
        self.id = request_id
        self.complete = False
        self._session = session
        self._calls = calls
        self._instance: str | None = None
        self._sent = sent
        self._window = window
        self._limit = limit
        self._sign = sign
        self._unsealing: Unsealing | None = None
        self._unproven: list[ChunkFrame] = []
        self._looking: asyncio.Task[None] | None = None
        self._response: asyncio.Future[Response]
        self._upload: asyncio.Task[None] | None = None

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

    async def begin(self, rest: AsyncIterator[bytes] | None, timeouts: Timeouts) -> Head:
        """Send the request and wait for the beginning of its response.

        Args:
            rest: What follows of the request's body.
            timeouts: How long to wait.

        Raises:
            RpcError: As Peer.call.
            Exception: What ``rest`` raised.
        """
        connection = self._session.connection
        if connection is None:
            raise Disconnected("the connection broke")
        if len(self.payload) > connection.limit:
            raise PayloadTooLarge(f"the head of the request has more than {connection.limit} bytes")
        read = timeouts.read if timeouts.read is not None else DAY
        self._response = self._calls.open(self, read if rest is None else 366 * DAY)
        try:
            connection.send(self.subject, self.reply, self.payload)
            if connection.congested:
                await connection.flow()
            if rest is None:
                head = _head(await self._response)
            else:
                head = await self._begin_upload(rest, timeouts, read)
        except BaseException as error:
            self._abandon(error)
            raise
        if head.whole:
            await self.settle()
        return head

    async def _begin_upload(
        self, rest: AsyncIterator[bytes], timeouts: Timeouts, read: float
    ) -> Head:
        self._upload = asyncio.create_task(self._send_body(rest, timeouts.write))
        both: set[asyncio.Future[Any]] = {self._upload, self._response}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not self._response.done():
            self._upload.result()
            try:
                async with asyncio.timeout(read):
                    await asyncio.wait({self._response})
            except TimeoutError:
                self._calls.stats.timeouts += 1
                raise DeadlineExceeded(f"no response on {self.subject} in time") from None
        elif self._upload.done() and not self._upload.cancelled():
            self._upload.exception()  # the response says more
        return _head(self._response.result())

    async def read(self, timeout: float | None) -> bytes:
        """Some bytes of the response's body; none at its end.

        Raises:
            DeadlineExceeded: Nothing came for so many seconds.
            RemoteError: The responder gave up.
            Disconnected: The connection broke, or the responder was silent.
            PayloadTooLarge: The body is larger than the limit.
        """
        try:
            async with asyncio.timeout(timeout):
                data = await self._inflow.read()
        except TimeoutError as error:
            if isinstance(error, DeadlineExceeded):
                raise
            self._calls.stats.timeouts += 1
            raise DeadlineExceeded("no more of the response came in time") from error
        if not data:
            self._over()
        return data

    async def close(self) -> None:
        """Let go of it: what has not come yet is not wanted any more."""
        if not self.complete:
            self._cancel(_GAVE_UP)
        await self.settle()

    async def settle(self) -> None:
        """Forget it: the whole response is here, or is not wanted."""
        self._over()
        if self._upload is not None and not self._upload.done():
            self._upload.cancel()
            await asyncio.wait({self._upload})

    # What comes from the responder.

    def take(self, data: bytes) -> bool:
        """See Incoming."""
        try:
            frame = decode_part(data)
        except InvalidMessage:
            return False
        if frame.id != self.id:
            return False
        self._alive.heard = time.monotonic()
        try:
            self._receive(frame, data)
        except InvalidMessage as error:
            self._cancel(_PROTOCOL)
            self.fail(Broken(f"the responder broke the rules: {error}"))
        except PayloadTooLarge as error:
            self._cancel(_GAVE_UP)
            self.fail(error)
        return True

    def _receive(self, frame: Frame, data: bytes) -> None:
        if isinstance(frame, ChunkFrame):
            for part in (frame,) if self._calls.trust is None else self._proven(frame):
                self._inflow.take(part.offset, part.content, last=part.last)
        elif isinstance(frame, CreditFrame):
            self._spoke_by(frame.instance)
            self._outflow.credit(frame.total)
        elif isinstance(frame, HeadFrame):
            if self._calls.trust is None or self._proves(self._calls.trust, frame, data):
                self._begins(frame)
        else:
            self.fail(RemoteError(frame.status, b"the response broke off"))

    def _begins(self, frame: HeadFrame) -> None:
        self._spoke_by(frame.instance)
        if self._response.done():
            return  # a renewed connection brings it twice
        self._calls.close(self)
        self._calls.streams[self.key] = self
        self._calls.stats.responses += 1
        if frame.content:
            self._inflow.take(0, frame.content, last=False)
        self._response.set_result(_Begun(frame))
        early, self._unproven = self._unproven, []
        for one in early:
            self._receive(one, b"")

    # Where only signed responses count.

    def _proves(self, trust: Trust, frame: HeadFrame, data: bytes) -> bool:
        """Whether a head is signed by the responder."""
        if self._unsealing is not None:
            return False  # a renewed connection brings it twice
        subject = self.key.decode("ascii")
        try:
            _, signature = signature_of(frame.headers)
            bare = encode_head(frame._replace(headers=frame.headers[:-1]))
            trust.check(subject, frame.headers, signed_text(subject, bare), signature)
        except InvalidMessage:
            self._calls.stats.unsigned += 1
            return False
        except Untrusted as refusal:
            if not refusal.unknown or asyncio.current_task() is self._looking:
                self._calls.stats.unsigned += 1
            elif self._looking is None:
                self._looking = asyncio.create_task(self._look(trust, data))
            return False
        key = trust.key_of(frame.headers)
        self._unsealing = Unsealing(subject, self.id, data, key, len(frame.content))
        return True

    async def _look(self, trust: Trust, data: bytes) -> None:
        await trust.look()
        self.take(data)

    def _proven(self, frame: ChunkFrame) -> Iterable[ChunkFrame]:
        """The chunks that count now that this one came."""
        if self._unsealing is None:
            if len(self._unproven) < _MOST_UNPROVEN:
                self._unproven.append(frame)
            return ()
        before = self._unsealing.refused
        found = list(self._unsealing.take(frame))
        self._calls.stats.unsigned += self._unsealing.refused - before
        return found

    def _spoke_by(self, instance: str) -> None:
        if self._instance is None:
            self._instance = instance
            self._calls.pulse.add(self)
        elif self._instance != instance:
            raise InvalidMessage("two responders answered one request")

    def fail(self, error: RpcError) -> None:
        """See Incoming."""
        if not self._response.done():
            self._calls.fail(self, error)
        self._inflow.fail(error)
        self._outflow.fail(error)
        self._over()

    def give_up(self, error: RpcError) -> None:
        """See Incoming."""
        self._cancel(_GAVE_UP)
        self.fail(error)

    def beat(self, now: float) -> None:
        """See Link."""
        if (error := self._alive.lost(now, self._inflow)) is not None:
            self._cancel(_SILENT)
            self.fail(error)
        elif self._alive.should_speak(now):
            self._grant(self._inflow.granted)

    # What goes to the responder.

    async def _send_body(self, rest: AsyncIterator[bytes], timeout: float | None) -> None:
        try:
            async for piece in rest:
                await self._write(piece, timeout, last=False)
            await self._write(b"", timeout, last=True)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if self._response.done():
                self._cancel(_GAVE_UP)
                self._inflow.fail(error)
                self._over()
            raise
        finally:
            close = getattr(rest, "aclose", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    await close()

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

    # Its end.

    def _over(self) -> None:
        self.complete = True
        if self._instance is not None:
            self._calls.streams.pop(self.key, None)
            self._calls.pulse.discard(self)

    def _abandon(self, error: BaseException) -> None:
        """The request ends without a response."""
        known = isinstance(error, NoResponder | PermissionDenied | RemoteError)
        if not self.complete and not known:
            self._cancel(_GAVE_UP)
        self._calls.close(self)
        self._over()
        if self._response.done() and not self._response.cancelled():
            self._response.exception()  # seen, whichever of the two is raised
        if self._upload is not None:
            self._upload.cancel()
            self._upload.add_done_callback(_seen)


class _Begun(Response):
    """The head of a response in chunks, where a whole response would stand."""

    __slots__ = ()

    def __init__(self, frame: HeadFrame) -> None:
        super().__init__(b"", frame.status, ())
        self._headers = frame.headers


def _head(response: Response) -> Head:
    whole = not isinstance(response, _Begun)
    return Head(response.status, response.pairs, response.content, whole)


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
