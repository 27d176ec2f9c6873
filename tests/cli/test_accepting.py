"""Connections are taken as many as wait, whatever the loop's own way is."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop
from structlog.testing import capture_logs

from authsvc.cli import accepting
from authsvc.cli.accepting import Accepting
from authsvc.cli.listening import listen
from tests.fixtures.authority import Authority
from tests.fixtures.waiting import until

WAITING = 200
Loop = Callable[[], asyncio.AbstractEventLoop]


class Greeting(asyncio.Protocol):
    """Says what it is."""

    def __init__(self, made: list[Greeting]) -> None:
        self._made = made
        self.no_delay = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        found = transport.get_extra_info("socket")
        self.no_delay = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        self._made.append(self)
        transport.write(b"hello")  # type: ignore[attr-defined]
        transport.close()


@contextmanager
def accepted(tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[Greeting], Accepting]]:
    made: list[Greeting] = []
    with listen("127.0.0.1", 0) as listening:
        found = Accepting(listening, lambda: Greeting(made), tls)
        found.start()
        try:
            yield listening.getsockname()[1], made, found
        finally:
            found.close()


def waiting(stack: contextlib.ExitStack, port: int, count: int) -> None:
    """Connect so many, as far as the kernel goes."""
    for _ in range(count):
        stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_all_that_wait_are_taken_at_once(loop: Loop) -> None:
    async def rounds() -> int:
        with accepted() as (port, made, _), contextlib.ExitStack() as stack:
            waiting(stack, port, WAITING)
            for count in range(WAITING):
                if len(made) == WAITING:
                    assert all(it.no_delay for it in made)
                    return count
                await asyncio.sleep(0)
            return WAITING

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(rounds()) < 10


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_where_there_is_no_room_they_wait_and_are_taken_later(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "_PAUSE_SECONDS", 0.01)
    tries: list[int] = []
    accept = socket.socket.accept

    def full(self: socket.socket) -> object:
        tries.append(1)
        if len(tries) < 4:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(self)

    async def go() -> None:
        monkeypatch.setattr(socket.socket, "accept", full)
        with accepted() as (port, made, _), contextlib.ExitStack() as stack:
            waiting(stack, port, 3)
            await until(lambda: len(made) == 3)

    with capture_logs() as logs, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())
    assert [it["event"] for it in logs] == ["no connection can be taken"]


async def test_who_leaves_amid_the_handshake_harms_nobody(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue(tmp_path, "127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    trust = ssl.create_default_context(cafile=str(authority.file))
    with accepted(context) as (port, made, found), contextlib.ExitStack() as stack:
        for sent in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port), 5) as other:
                other.sendall(sent)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
        assert len(made) == 1
        waiting(stack, port, 1)  # and shakes no hands
        await until(lambda: bool(found._opening))
        found.close()
        async with asyncio.timeout(5):
            await found.wait_closed()


async def test_closed_it_takes_no_more() -> None:
    with accepted() as (port, made, found), contextlib.ExitStack() as stack:
        found.close()
        waiting(stack, port, 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not made
        found.start()
        await until(lambda: len(made) == 1)
