"""Constant calls over every road at once: both faces, bodies in chunks, and the HTTP bridge.

``over`` says what was called, what was lost, and how long each call took; for tests that change
something meanwhile, and for ``benchmarks.renewal``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from authsvc.cli.listening import http_served, listen
from authsvc.rpc import AsyncClient, Client, Peer, Service, SyncPeer
from authsvc.rpc._loops.threads import in_thread

__all__ = ["APP", "ASGI_APP", "BRIDGED_APP", "Load", "echo", "http_server", "web"]

APP, ASGI_APP, BRIDGED_APP = "echo", "web", "far"
_PAUSE_SECONDS = 0.02
_CHUNKED = b"0123456789abcdef" * 40_000  # above what one message takes


@dataclass
class Load:
    """What was seen.

    ``took`` is the seconds of each call, by the road that it went; ``lost`` says how a call
    ended that brought no whole and true answer.
    """

    took: dict[str, list[float]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def calls(self) -> int:
        """How many there were."""
        return sum(map(len, self.took.values()))

    @contextlib.contextmanager
    def _call(self, road: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever it was, the call is lost
            self.lost.append(f"{road}: {error!r} after {time.perf_counter() - started:.2f} s")
        self.took.setdefault(road, []).append(time.perf_counter() - started)

    async def repeat(self, road: str, call: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Call over and over in this task."""
        number = 0
        while not self.over.is_set():
            body = b"%s %d" % (road.encode(), number)
            with self._call(road):
                _same(await call(body), body)
            number += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    def repeat_blocking(self, road: str, call: Callable[[bytes], bytes]) -> None:
        """Call over and over in this thread."""
        number = 0
        while not self.over.is_set():
            body = b"%s %d" % (road.encode(), number)
            with self._call(road):
                _same(call(body), body)
            number += 1
            time.sleep(_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def over_all(
        self, client: AsyncClient, blocking: Client, responder: str, bridge: str
    ) -> AsyncIterator[None]:
        """Call on every road until the block ends.

        Args:
            client: Who calls in async code.
            blocking: Who calls from threads.
            responder: Who serves ``echo()`` and ``web()``.
            bridge: Who has ``web()`` behind a reverse bridge.
        """
        peer, other = client.peer(responder, APP), blocking.peer(responder, APP)

        async def call(body: bytes) -> bytes:
            return (await peer.call("/echo", content=body, timeout=5)).content

        async def stream(body: bytes) -> bytes:
            async with peer.stream("/pieces", content=_CHUNKED + body, timeout=5) as response:
                return (await response.read()).removeprefix(_CHUNKED)

        def block(body: bytes) -> bytes:
            return other.call("/echo", content=body, timeout=5).content

        async with contextlib.AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(self.over.set)
            for _ in range(8):
                group.create_task(self.repeat("call", call))
            group.create_task(self.repeat("stream", stream))
            for _ in range(4):
                group.create_task(in_thread(lambda: self.repeat_blocking("blocking call", block)))
            for name, app in ((responder, ASGI_APP), (bridge, BRIDGED_APP)):
                self._over_http(group, client.peer(name, app), blocking.peer(name, app))
            yield

    def _over_http(self, group: asyncio.TaskGroup, peer: Peer, blocking: SyncPeer) -> None:
        name = peer.app
        http = httpx.AsyncClient(transport=peer.transport(), base_url="http://far", timeout=5)
        plain = httpx.Client(transport=blocking.transport(), base_url="http://far", timeout=5)

        async def post(body: bytes) -> bytes:
            return (await http.post("/echo", content=body)).content

        async def upload(body: bytes) -> bytes:
            found = (await http.post("/echo", content=_CHUNKED + body)).content
            return found.removeprefix(_CHUNKED)

        def block(body: bytes) -> bytes:
            return plain.post("/echo", content=body).content

        for _ in range(2):
            group.create_task(self.repeat(f"http {name}", post))
            group.create_task(
                in_thread(lambda: self.repeat_blocking(f"blocking http {name}", block))
            )
        group.create_task(self.repeat(f"http {name} in chunks", upload))


def _same(found: bytes, sent: bytes) -> None:
    if found != sent:
        raise AssertionError(f"{found[:40]!r} came back for {sent[:40]!r}")


def echo() -> Service:
    """The app that is called."""
    service = Service(APP)

    @service.on_request("/echo")
    async def answer(body: bytes) -> bytes:
        return body

    @service.on_request("/pieces")
    async def pieces(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            yield piece

    return service


def web() -> FastAPI:
    """The HTTP app that is called; its answers are streamed."""
    app = FastAPI()

    async def halves(body: bytes) -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await asyncio.sleep(0)
        yield body[len(body) // 2 :]

    @app.post("/echo")
    async def answer(request: Request) -> StreamingResponse:
        return StreamingResponse(halves(await request.body()))

    return app


@contextlib.asynccontextmanager
async def http_server(app: FastAPI) -> AsyncIterator[str]:
    """The app on a free port of this machine; where it listens."""
    with listen("127.0.0.1", 0) as listening:
        async with http_served(app, listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
