"""The ways to ask and be answered. Each is opened for its turn alone, and closed after it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from authsvc.cli.rpc_bench.places import Place
from authsvc.cli.rpc_bench.raw import LIVE, MICRO, RAW, STORED, connect_raw
from authsvc.rpc import AsyncClient, Client
from authsvc.subjects import token

__all__ = ["BlockingCall", "Call", "Way", "known", "ways"]

Call = Callable[[bytes], Awaitable[bytes]]
BlockingCall = Callable[[bytes], bytes]
Open = Callable[[Place, int], AbstractAsyncContextManager[Call]]
OpenBlocking = Callable[[Place, int], AbstractAsyncContextManager[BlockingCall]]

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way.

    Args:
        name: Short, for options and files.
        title: For eyes.
        open: Connects; what comes out of it sends a body and returns the answer's.
        blocking: The same for a way that blocks: each call at a time has a thread.
        ours: Whether it is this library's.
    """

    name: str
    title: str
    open: Open | None = None
    blocking: OpenBlocking | None = None
    ours: bool = False


@asynccontextmanager
async def _live(place: Place, _concurrency: int) -> AsyncIterator[Call]:
    async with AsyncClient(**place.arguments) as client:
        peer = client.peer(place.responder, f"{place.word}-{LIVE}")

        async def call(body: bytes) -> bytes:
            return (await peer.call("/echo", content=body, timeout=_SECONDS)).content

        yield call


@asynccontextmanager
async def _sync(place: Place, _concurrency: int) -> AsyncIterator[BlockingCall]:
    client = Client(**place.arguments)
    await asyncio.to_thread(client.connect)
    peer = client.peer(place.responder, f"{place.word}-{LIVE}")

    def call(body: bytes) -> bytes:
        return peer.call("/echo", content=body, timeout=_SECONDS).content

    try:
        yield call
    finally:
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def _stored(place: Place, _concurrency: int) -> AsyncIterator[Call]:
    async with AsyncClient(**place.arguments) as client:
        peer = client.peer(place.responder, f"{place.word}-{STORED}")

        async def call(body: bytes) -> bytes:
            future = await peer.submit("/echo", content=body, expires=_SECONDS)
            return (await future.result(_SECONDS)).content

        yield call


def _raw(kind: str) -> Open:
    @asynccontextmanager
    async def opened(place: Place, _concurrency: int) -> AsyncIterator[Call]:
        async with AsyncClient(**place.arguments) as client:
            login = client.session.login
        app = f"{place.word}-{kind}"
        me, responder = token(login.username), token(place.responder)
        # The only subjects where the one may listen and the other publish.
        connection = await connect_raw(login, f"responses.{me}.{responder}.{app}")
        subject = f"requests.{me}.{responder}.{app}"

        async def call(body: bytes) -> bytes:
            return bytes((await connection.request(subject, body, timeout=_SECONDS)).data)

        try:
            yield call
        finally:
            await connection.close()

    return opened


@asynccontextmanager
async def _httpx(place: Place, concurrency: int) -> AsyncIterator[Call]:
    import httpx  # noqa: PLC0415

    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(
        base_url=place.http_url or "", limits=limits, timeout=_SECONDS, trust_env=False
    ) as client:

        async def call(body: bytes) -> bytes:
            return (await client.post("/echo", content=body)).content

        yield call


@asynccontextmanager
async def _aiohttp(place: Place, concurrency: int) -> AsyncIterator[Call]:
    import aiohttp  # noqa: PLC0415  optional

    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(place.http_url, connector=connector) as session:

        async def call(body: bytes) -> bytes:
            async with session.post("/echo", data=body) as response:
                found: bytes = await response.read()
                return found

        yield call


def ways(place: Place) -> tuple[list[Way], list[str]]:
    """The ways that can be measured here, and what is missing for others."""
    found = [
        Way("live", "authsvc.rpc, async", _live, ours=True),
        Way("sync", "authsvc.rpc, threads", blocking=_sync, ours=True),
        Way("raw", "nats-py request", _raw(RAW)),
        Way("micro", "nats micro", _raw(MICRO)),
    ]
    missing: list[str] = []
    if place.stores:
        found.insert(2, Way("stored", "authsvc.rpc, stored", _stored, ours=True))
    else:
        missing.append("stored requests are left out: a .creds file can't register an app")
    if place.http_url is None:
        missing.append("FastAPI is left out: the responder is not on this machine's loopback")
        return found, missing
    if importlib.util.find_spec("aiohttp") is None:
        missing.append("FastAPI with aiohttp is left out: pip install 'authsvc[bench]'")
    else:
        found.append(Way("aiohttp", "FastAPI, aiohttp client", _aiohttp))
    found.append(Way("httpx", "FastAPI, httpx client", _httpx))
    return found, missing


def known(names: list[str], found: list[Way]) -> list[Way]:
    """The ways of these names; all if there is none.

    Raises:
        ValueError: One of the names is no way.
    """
    by_name = {way.name: way for way in found}
    for name in names:
        if name not in by_name:
            raise ValueError(f"{name!r} is none of {', '.join(by_name)}")
    return [by_name[name] for name in names] or found
