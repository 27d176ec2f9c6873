"""One request whose bodies may travel in chunks, on the requester's side."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

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
from authsvc.rpc._messages.message import Response
from authsvc.rpc._streams.heads import DAY, Begun, Broken, Head, Timeouts, head_of
from authsvc.rpc._streams.speaker import Speaker
from authsvc.rpc._wire.chunks import ChunkFrame, CreditFrame, Frame, HeadFrame, decode_part

__all__ = ["Opened"]

_GAVE_UP, _PROTOCOL, _SILENT = 499, 400, 504


class Opened(Speaker):
    """A request that was opened, and its response; the entry in the table until that begins."""

    complete = False
    _response: asyncio.Future[Response]
    _upload: asyncio.Task[None] | None = None

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
                head = head_of(await self._response)
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
        return head_of(self._response.result())

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
            for part in (frame,) if self._proof is None else self._proof.proven(frame):
                self._inflow.take(part.offset, part.content, last=part.last)
        elif isinstance(frame, CreditFrame):
            self._spoke_by(frame.instance)
            self._outflow.credit(frame.total)
        elif isinstance(frame, HeadFrame):
            if self._proof is None or self._proof.begins(frame, data, self.take):
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
        self._response.set_result(Begun(frame))
        if self._proof is not None:
            for one in self._proof.early():
                self._receive(one, b"")

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


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
