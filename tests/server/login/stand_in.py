"""An HTTP server that answers what it is told, in place of one that proves identities."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

_TYPE = "Content-Type: application/json; charset=utf-8\r\n"


def answer(status: int, body: bytes, headers: str = _TYPE) -> bytes:
    """The bytes of an answer."""
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


class StandIn(NamedTuple):
    """An HTTP server that answers what it is told, in place of a SyftBox server."""

    url: str
    requests: list[list[str]]


@asynccontextmanager
async def serve(said: Callable[[list[str]], bytes], delay: float = 0) -> AsyncIterator[StandIn]:
    requests: list[list[str]] = []
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode().splitlines()
                requests.append(lines)
                await asyncio.sleep(delay)
                writer.write(said(lines))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield StandIn(f"http://127.0.0.1:{port}", requests)
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)
