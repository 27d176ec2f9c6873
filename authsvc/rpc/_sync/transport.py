"""The blocking face of bodies in chunks: an httpx transport and ``SyncPeer.stream``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import httpx

from authsvc.errors import Disconnected
from authsvc.rpc._streams.response import ResponseStream
from authsvc.rpc._streams.transport import AsyncTransport
from authsvc.rpc._wire.flow import MAX_CONTENT_BYTES

__all__ = ["Runner", "SyncResponseStream", "SyncTransport", "Upload", "opened_stream"]

T = TypeVar("T")


class Runner(Protocol):
    """An event loop in another thread."""

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises; this thread waits for it."""


class Upload:
    """Pieces that one thread hands to a task in the loop of another, one at a time.

    Made in the loop's thread.

    Args:
        work: What sends the pieces.
    """

    def __init__(self, work: Callable[[AsyncIterator[bytes]], Coroutine[Any, Any, Any]]) -> None:
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(work(self._iterate()))
        self.task.add_done_callback(self._ended)

    async def _iterate(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self._pieces.get():
                yield piece
        finally:
            self._end()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        # A response that has begun does not end it: its responder may read on.
        if task.cancelled() or task.exception() is not None:
            self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def put(self, piece: bytes) -> bool:
        """Hand over a piece, an empty one at the end; False if no more is wanted."""
        putting = asyncio.ensure_future(self._pieces.put(piece))
        both: set[asyncio.Future[Any]] = {putting, self._over}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        return not self._over.done()

    async def result(self) -> Any:
        """What the task returns or raises."""
        return await self.task

    async def cancel(self, discard: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        """Let the task end, and discard what it has returned already."""
        self.task.cancel()
        await asyncio.wait({self.task})
        if not self.task.cancelled() and self.task.exception() is None:
            await discard(self.task.result())


def uploaded(
    runner: Runner,
    pieces: Iterable[bytes],
    work: Callable[[AsyncIterator[bytes]], Coroutine[Any, Any, T]],
    discard: Callable[[Any], Coroutine[Any, Any, None]],
) -> T:
    """Run ``work`` in the loop's thread with pieces that are made in this one.

    Args:
        runner: The loop's thread.
        pieces: The pieces.
        work: What sends them, and returns when the response begins.
        discard: Lets go of what ``work`` returned, where the pieces come to a bad end.

    Raises:
        Exception: What ``work`` or the making of the pieces raised.
    """

    async def begin() -> Upload:
        return Upload(work)

    upload = runner.run(begin())
    try:
        for piece in pieces:
            if piece and not runner.run(upload.put(bytes(piece))):
                break
        else:
            runner.run(upload.put(b""))
        found: T = runner.run(upload.result())
    except BaseException:
        runner.run(upload.cancel(discard))
        raise
    return found


class SyncTransport(httpx.BaseTransport):
    """Carries the requests of an ``httpx.Client`` to one app of one user; see AsyncTransport.

    Any number of threads may use it at once. A body that is made piece by piece is made in the
    thread that sends the request. Made by ``SyncPeer.transport``.

    Args:
        runner: The client's event loop, which is asked for when it is needed.
        carrier: What carries them there.
    """

    def __init__(self, runner: Callable[[], Runner], carrier: AsyncTransport) -> None:
        self._runner = runner
        self._carrier = carrier

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its response is there when the head is.

        Raises:
            httpx.TransportError: The error that httpx has for what went wrong.
        """
        stream = request.stream
        if not isinstance(stream, httpx.SyncByteStream):
            raise TypeError("a Client needs a body that can be read without async code")

        def work(pieces: AsyncIterable[bytes]) -> Coroutine[Any, Any, httpx.Response]:
            return self._carrier.carry(request, pieces)

        try:
            runner = self._runner()
            if isinstance(stream, httpx.ByteStream):
                response = runner.run(work(stream))
            else:
                response = uploaded(runner, stream, work, httpx.Response.aclose)
        except Disconnected as error:
            raise httpx.ConnectError(str(error), request=request) from error
        if not isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _SyncBody(runner, response.stream)
        return response


class _SyncBody(httpx.SyncByteStream):
    """A response's body in chunks."""

    def __init__(self, runner: Runner, body: Any) -> None:
        self._runner = runner
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        return pieces_of(self._runner, self._body)

    def close(self) -> None:
        """Let go of what has not come yet."""
        with suppress(Disconnected):  # the client was closed, and with it all there was
            self._runner.run(self._body.aclose())


def pieces_of(runner: Runner, found: AsyncIterable[T]) -> Iterator[T]:
    """Each item of what is made in the loop's thread."""
    items = aiter(found)
    end: Any = object()

    async def step() -> T:
        item: T = await anext(items, end)
        return item

    while (item := runner.run(step())) is not end:
        yield item


class SyncResponseStream:
    """A response whose body comes piece by piece, in code that blocks; see ResponseStream."""

    def __init__(self, runner: Runner, response: ResponseStream) -> None:
        self.status = response.status
        self.headers = response.headers
        self._runner = runner
        self._response = response

    @property
    def status_code(self) -> int:
        """``status``, by the name that httpx gives it."""
        return self.status

    def __iter__(self) -> Iterator[bytes]:
        return pieces_of(self._runner, self._response)

    def read_some(self) -> bytes:
        """Some bytes, as soon as there are any; none at the end."""
        return self._runner.run(self._response.read_some())

    def read(self, limit: int = MAX_CONTENT_BYTES) -> bytes:
        """The rest of the body at once, so many bytes at most."""
        return self._runner.run(self._response.read(limit))

    def lines(self, limit: int = MAX_CONTENT_BYTES) -> Iterator[bytes]:
        """The body by lines, so many bytes of each at most."""
        return pieces_of(self._runner, self._response.lines(limit))

    def items(self) -> Iterator[Any]:
        """Each line of the body, read as JSON."""
        return pieces_of(self._runner, self._response.items())

    def raise_for_status(self) -> None:
        """Nothing, if the status is below 400; else RemoteError."""
        self._runner.run(self._response.raise_for_status())

    def __repr__(self) -> str:
        return f"<SyncResponseStream {self.status}>"


@contextmanager
def opened_stream(runner: Runner, opening: Callable[[Any], Any], content: Any) -> Iterator[Any]:
    """A ``Peer.stream`` in code that blocks.

    Args:
        runner: The client's event loop.
        opening: Makes the ``Peer.stream`` of a content.
        content: The content; what is iterated is iterated in this thread.
    """
    if content is None or isinstance(content, bytes | bytearray | memoryview | str):
        stream = opening(content)
        response = runner.run(stream.__aenter__())
    else:
        streams: list[Any] = []

        async def begin(pieces: AsyncIterator[bytes]) -> ResponseStream:
            streams.append(opening(pieces))
            found: ResponseStream = await streams[0].__aenter__()
            return found

        async def discard(_: ResponseStream) -> None:
            await streams[0].__aexit__(None, None, None)

        response = uploaded(runner, content, begin, discard)
        stream = streams[0]
    try:
        yield SyncResponseStream(runner, response)
    finally:
        with suppress(Disconnected):
            runner.run(stream.__aexit__(None, None, None))
