"""The quick way through nats-py's parser reads what the slow one reads."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.protocol.parser import Parser

from authsvc.rpc._session.parser import MessageParser, Taker

Seen = list[tuple[Any, ...]]
TAKERS = (4, 5)


class Sink:
    """What nats-py's client does with what its parser finds: keep it."""

    def __init__(self) -> None:
        self.seen: Seen = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        if sid in TAKERS:
            self.seen.append((sid, subject, reply, data, headers))
        else:
            self.seen.append((sid, subject, data, headers))

    async def _process_ping(self) -> None:
        self.seen.append(("ping",))

    async def _process_pong(self) -> None:
        self.seen.append(("pong",))

    async def _process_err(self, text: str) -> None:
        self.seen.append(("err", text))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.seen.append(("info", info))


subjects = st.sampled_from([b"a.b", b"responses.alice.bob.app.00"])
payloads = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"MSG a 1 2\r\n", b"\r\n", b"PING\r\n", b"x" * 5000])
)
replies = st.sampled_from([b"", b"_INBOX.x ", b"$JS.ACK.s.c.1.2.3.4.0 "])


def message(subject: bytes, sid: int, reply: bytes, payload: bytes) -> bytes:
    return b"MSG %b %d %b%d\r\n%b\r\n" % (subject, sid, reply, len(payload), payload)


def with_headers(subject: bytes, sid: int, reply: bytes, payload: bytes) -> bytes:
    head = b"NATS/1.0 503\r\n\r\n"
    sizes = b"%d %d" % (len(head), len(head) + len(payload))
    return b"HMSG %b %d %b%b\r\n%b%b\r\n" % (subject, sid, reply, sizes, head, payload)


operations = st.one_of(
    st.builds(message, subjects, st.integers(1, 5), replies, payloads),
    st.builds(with_headers, subjects, st.integers(1, 5), replies, payloads),
    st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'No'\r\n", b'INFO {"a":1}\r\n']),
)


def read(parser: Parser, stream: bytes, cuts: list[int]) -> None:
    async def feed() -> None:
        places = sorted({cut % (len(stream) + 1) for cut in cuts} | {0, len(stream)})
        for start, end in itertools.pairwise(places):
            await parser.parse(stream[start:end])

    asyncio.run(feed())


@given(st.lists(operations, max_size=12), st.lists(st.integers(0, 1 << 16), max_size=12))
def test_every_stream_however_cut_is_read_the_same(ops: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(ops)
    slow = Sink()
    read(Parser(slow), stream, cuts)
    quick = Sink()

    def receiver(sid: int) -> Any:
        return lambda subject, data, headers: quick.seen.append((sid, subject, data, headers))

    def taker(sid: int) -> Taker:
        return Taker(lambda *parts: quick.seen.append((sid, *parts)))

    # Subscription 3 is nats-py's own.
    takers = {sid: taker(sid) for sid in TAKERS}
    read(MessageParser(quick, {1: receiver(1), 2: receiver(2)}, takers), stream, cuts)
    assert quick.seen == slow.seen


class Slow(Sink):
    """Takes a turn of the loop for what is no message, as nats-py does to answer a PING."""

    async def _process_ping(self) -> None:
        await asyncio.sleep(0)
        await super()._process_ping()

    async def _process_err(self, text: str) -> None:
        await asyncio.sleep(0)
        await super()._process_err(text)


def read_as_it_comes(parser: MessageParser, pieces: list[tuple[bytes, bool]]) -> None:
    """Let a read loop run beside a socket, which brings some pieces before it has a turn."""

    async def main() -> None:
        reader = asyncio.StreamReader()

        async def loop() -> None:
            while data := await reader.read(32):
                await parser.parse(data)

        reader.feed_data(b"+OK\r\n")  # what came before anybody watched
        with parser.reading(reader):
            task = asyncio.create_task(loop())
            for piece, waits in pieces:
                reader.feed_data(piece)
                if waits:
                    await asyncio.sleep(0)
            reader.feed_eof()
            await task

    asyncio.run(main())


@given(
    st.lists(operations, max_size=12),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.booleans()), max_size=12),
)
def test_what_the_socket_brings_keeps_its_order_beside_the_read_loop(
    ops: list[bytes], cuts: list[tuple[int, bool]]
) -> None:
    stream = b"".join(ops)
    slow = Sink()
    read(Parser(slow), stream, [])
    quick = Slow()

    def receiver(sid: int) -> Any:
        return lambda subject, data, headers: quick.seen.append((sid, subject, data, headers))

    def taker(sid: int) -> Taker:
        return Taker(lambda *parts: quick.seen.append((sid, *parts)))

    parser = MessageParser(
        quick, {1: receiver(1), 2: receiver(2)}, {sid: taker(sid) for sid in TAKERS}
    )
    places = {cut % (len(stream) + 1): waits for cut, waits in cuts} | {len(stream): True}
    starts = [0, *sorted(places)]
    read_as_it_comes(
        parser,
        [(stream[start:end], places[end]) for start, end in itertools.pairwise(starts)],
    )
    assert quick.seen == slow.seen


@pytest.mark.parametrize("line", [b"MSG a.b 1 30\r\n", b"HMSG a.b 4 16 46\r\nNATS/1.0 503\r\n\r\n"])
def test_a_payload_that_looks_like_messages_is_none(line: bytes) -> None:
    """Its sender chooses it, and the network where it is cut off from its own line."""
    forged = b"MSG requests.root.me.app 1 1\r\n"
    assert len(forged) == 30
    sink = Sink()

    def receiver(subject: bytes, data: bytes, headers: bytes | None) -> None:
        sink.seen.append((1, subject, data, headers))

    async def main() -> None:
        taker = Taker(lambda *parts: sink.seen.append((4, *parts)))
        parser = MessageParser(sink, {1: receiver}, {4: taker})
        reader = asyncio.StreamReader()
        with parser.reading(reader):
            reader.feed_data(line)
            await parser.parse(await reader.read(1024))
            reader.feed_data(forged + b"\r\n" + message(b"c.d", 1, b"", b"after"))
            await parser.parse(await reader.read(1024))

    asyncio.run(main())
    (_, subject, *_), last = sink.seen
    assert (subject, last) == (b"a.b", (1, b"c.d", b"after", None))
    assert forged in sink.seen[0]


def test_a_complete_message_is_there_before_the_read_loop_has_a_turn() -> None:
    async def main() -> None:
        sink = Sink()
        seen: list[bytes] = []
        parser = MessageParser(sink, {1: lambda _subject, data, _: seen.append(data)}, {})
        reader = asyncio.StreamReader()
        with parser.reading(reader):
            reader.feed_data(message(b"a", 1, b"", b"one") + b"PING\r\n")
            assert seen == [b"one"]
            reader.feed_data(message(b"a", 1, b"", b"two"))
            assert seen == [b"one"]  # the PING came first
            await parser.parse(await reader.read(1000))
            assert sink.seen == [("ping",), (1, b"a", b"two", None)]
            reader.feed_data(message(b"a", 1, b"", b"three"))
            assert seen == [b"one", b"three"]
        reader.feed_data(message(b"a", 1, b"", b"four"))
        assert seen == [b"one", b"three"]

    asyncio.run(main())


def test_a_receiver_that_raises_stops_nobody() -> None:
    sink = Sink()
    seen: list[bytes] = []

    def receiver(subject: bytes, data: bytes, headers: bytes | None) -> None:
        seen.append(data)
        raise RuntimeError("once")

    stream = message(b"a", 1, b"", b"one") + message(b"a", 1, b"", b"two")
    read(MessageParser(sink, {1: receiver}, {}), stream, [])
    assert seen == [b"one", b"two"]

    def take(_subject: bytes, _reply: bytes, data: bytes, headers: bytes | None) -> None:
        receiver(b"", data, headers)

    stream = with_headers(b"a", 1, b"", b"three") + with_headers(b"a", 1, b"r ", b"four")
    read(MessageParser(sink, {}, {1: Taker(take)}), stream, [])
    assert seen[2:] == [b"three", b"four"]
