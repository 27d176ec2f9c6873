"""Lines in, bytes out: without a service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.types import Message

from authsvc.server.api.admin.ndjson import Line, Lines, Spool, chunks

MAX = 8


def fed(parts: Sequence[bytes]) -> list[Line]:
    lines = Lines(MAX)
    found: list[Line] = []
    for part in parts:
        found += lines.feed(part)
    return [*found, *lines.end()]


@given(st.lists(st.text("ab \r\n", max_size=12).map(str.encode)))
def test_lines_are_the_same_however_they_are_cut(parts: list[bytes]) -> None:
    expected = []
    for number, raw in enumerate(b"".join(parts).split(b"\n"), 1):
        content = raw.strip(b" \r")
        if len(raw) > MAX:
            expected.append(Line(number, None))
        elif content:
            expected.append(Line(number, content))
    assert fed(parts) == expected


def test_a_long_line_is_not_kept() -> None:
    lines = Lines(MAX)
    assert list(lines.feed(b"x" * 100)) == []
    assert len(lines._rest) <= MAX
    assert list(lines.feed(b"y" * 100)) == []
    assert list(lines.feed(b"\nok")) == [Line(1, None)]
    assert list(lines.end()) == [Line(2, b"ok")]


def test_a_byte_order_mark_is_no_content() -> None:
    assert fed([b"\xef\xbb", b"\xbf{}\n\xef\xbb\xbf"]) == [Line(1, b"{}"), Line(2, b"\xef\xbb\xbf")]


async def test_chunks_tell_of_pauses_and_of_the_end() -> None:
    queue: asyncio.Queue[Message] = asyncio.Queue()
    queue.put_nowait({"type": "http.request", "body": b"a", "more_body": True})
    seen = []
    async for chunk in chunks(queue.get, 0.01):
        seen.append(chunk)
        if len(seen) == 3:
            queue.put_nowait({"type": "http.request", "body": b"b"})
    assert seen[:3] == [b"a", b"", b""]
    assert b"".join(seen) == b"ab"
    queue.put_nowait({"type": "http.disconnect"})
    with pytest.raises(ClientDisconnect):
        async for _ in chunks(queue.get, 1):
            pass


async def test_a_spool_takes_more_than_is_read() -> None:
    spool, size = Spool(), 1024 * 1024
    for n in range(3):
        spool.write(bytes([n]) * size)
    parts = spool.parts()
    read = await anext(parts)
    spool.write(b"end")
    spool.end()
    async for part in parts:
        assert len(part) < size
        read += part
    assert read == b"\0" * size + b"\1" * size + b"\2" * size + b"end"
    spool.close()


async def test_a_spool_that_is_read_as_it_is_written() -> None:
    spool = Spool()
    parts = spool.parts()
    for n in range(50):
        waiting = asyncio.ensure_future(anext(parts))
        await asyncio.sleep(0)
        assert not waiting.done()
        spool.write(b"%d" % n)
        assert await waiting == b"%d" % n
    assert spool._written == 50 or spool._written <= 2
    spool.end()
    assert [part async for part in parts] == []
    spool.close()
