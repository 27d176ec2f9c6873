"""What comes before a request is whole, on raw sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

import pytest
import uvicorn

from authsvc.server.api import protocol
from tests.fixtures.authsvc import LiveService


@pytest.fixture(scope="module")
def shared_database_url(shared_sqlite_url: str) -> str:
    """One kind: what is asked here is HTTP."""
    return shared_sqlite_url


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def exchange(service: LiveService, *pieces: bytes, pause: float = 0) -> tuple[bytes, bytes]:
    """What the service answers to the bytes before it closes the connection: head and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
        answer = await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def check(head: bytes, body: bytes, status: int, slug: str) -> None:
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"\r\nx-request-id: " in head
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert (problem["status"], problem["type"]) == (status, f"urn:authsvc:problem:{slug}")
    assert problem["detail"]


@pytest.mark.parametrize(
    "request_",
    [
        b"FOO / HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: a\x01b\r\n\r\n",
    ],
)
async def test_what_is_no_http(service: LiveService, request_: bytes) -> None:
    check(*await exchange(service, request_), 400, "bad-request")


async def test_a_head_without_end(service: LiveService) -> None:
    pieces = [b"GET /healthz HTTP/1.1\r\nX: ", *[b"a" * 16384] * 5]
    check(*await exchange(service, *pieces, pause=0.01), 431, "head-too-large")


async def test_a_slow_head(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    check(*await exchange(service, b"GET /healthz HTTP/1.1\r\n"), 408, "request-timeout")
    # Nothing sent: nothing answered, and not kept either.
    assert await exchange(service) == (b"", b"")
    # The second head of a connection is bounded as well.
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    head, body = await exchange(service, whole, b"GET /", pause=0.05)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body.endswith(b'"instance":""}')


async def test_a_body_that_stops_half_way(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection, on any route: the client is not waited for. A slow one is."""
    monkeypatch.setattr(protocol, "SILENT_SECONDS", 0.3)
    for path in ("/v1/credentials", "/v1/admin/users:import", "/v1/me/mailbox"):
        method = "PUT" if path.endswith("mailbox") else "POST"
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n"
        sized = f"{head}Content-Length: 100\r\n\r\n{{".encode()
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n".encode()
        for request in (sized, chunked):
            found, body = await exchange(service, request)
            if b" 401 " not in found.partition(b"\r\n")[0]:  # refused before its body is read
                check(found, body, 408, "request-timeout")
    slow = [b"POST /v1/credentials HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"]
    slow += [b"Connection: close\r\n\r\n", *[b"1\r\n{\r\n"] * 5, b"0\r\n\r\n"]
    found, _ = await exchange(service, *slow, pause=0.1)
    assert found.startswith(b"HTTP/1.1 401 ")


async def test_large_bodies_and_slow_handlers_are_none_of_it(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    writer.write(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    for _ in range(6):
        writer.write(b"b" * 10000)
        await asyncio.sleep(0.1)
    line = await asyncio.wait_for(reader.readline(), 10)
    assert line.startswith(b"HTTP/1.1 405 ")
    writer.close()


async def test_a_connection_that_rests_too_long_is_closed() -> None:
    """One timer sees to it, however many answers there were."""

    async def app(_scope: object, _receive: object, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]}
        )
        await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"x"})

    config = uvicorn.Config(
        app, http=protocol.Protocol, lifespan="off", log_config=None, timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        began = time.monotonic()
        while time.monotonic() < began + 1.5:  # longer than it may rest
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\nx"), 10)).startswith(
                b"HTTP/1.1 200"
            )
            await asyncio.sleep(0.2)
        rested = time.monotonic()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        assert 0.5 < time.monotonic() - rested < 5
        writer.close()
        server.should_exit = True
        await task
