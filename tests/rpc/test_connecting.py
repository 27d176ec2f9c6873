"""Servers that go away, or send nonsense, while a client connects: it ends, typed, in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from authsvc.claims import format_creds
from authsvc.rpc import AsyncClient, Disconnected, NotAuthenticated
from authsvc.rpc._requester import connected as _connected
from tests.fixtures.realm import Realm

INFO = b'INFO {"server_id":"x","version":"2.14.3","max_payload":1048576}\r\n'
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def connecting(talk: Talk) -> AsyncIterator[asyncio.Task[None]]:
    """A client that connects to something that talks like this, to each connection."""
    told = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()
        told.set()

    creds = Realm().user_creds("alice@x.com")
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        text = format_creds(creds.jwt, creds.key)
        client = AsyncClient(creds=text, servers=[f"nats://{host}:{port}"])
        yield asyncio.create_task(client.connect())
        await asyncio.wait_for(told.wait(), 5)


async def until(reader: asyncio.StreamReader, end: bytes) -> None:
    # At the end of the stream, readline returns at once, for ever.
    while (line := await reader.readline()) and end not in line:
        pass


@pytest.mark.parametrize("first", [b"INFO [1]\r\n", b"INFO 1\r\n", b"INFO {\r\n", b"HTTP\r\n", b""])
async def test_a_server_that_sends_nonsense_is_told_and_let_go(first: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        if first:
            # What the client closes, it leaves.
            await reader.read()

    async with connecting(talk) as connect:
        with pytest.raises(Disconnected):
            await asyncio.wait_for(connect, 8)


@pytest.mark.parametrize("pongs", [0, 1, 2])
async def test_a_server_that_leaves_during_the_handshake_is_told(pongs: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        for _ in range(pongs):
            await until(reader, b"PING")
            writer.write(b"PONG\r\n")
        await until(reader, b"PING")

    async with connecting(talk) as connect:
        with pytest.raises(Disconnected):
            await asyncio.wait_for(connect, 5)


async def test_a_credential_that_is_refused_late_is_told() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        await until(reader, b"PING")
        writer.write(b"PONG\r\n")
        await until(reader, b"PING")
        writer.write(b"-ERR 'Authentication Revoked'\r\n")

    async with connecting(talk) as connect:
        with pytest.raises(NotAuthenticated):
            await asyncio.wait_for(connect, 5)


async def test_a_server_that_leaves_before_the_first_subscription_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_connected, "_LISTEN_SECONDS", 0.5)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        for _ in range(3):
            await until(reader, b"PING")
            writer.write(b"PONG\r\n")
        await until(reader, b"SUB")

    async with connecting(talk) as connect:
        with pytest.raises(Disconnected, match="went away"):
            await asyncio.wait_for(connect, 5)
