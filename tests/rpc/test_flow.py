"""The two ends of a body in chunks, without a network: order, credit, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authsvc.errors import Disconnected, InvalidMessage, PayloadTooLarge
from authsvc.rpc._wire.flow import PIECE_BYTES, Inflow, Outflow, window_bytes
from tests.fixtures.waiting import until

Sent = list[tuple[int, bytes, bool]]


def inflow(*, granted: int = 0, window: int = 1000, limit: int = 10**9) -> tuple[Inflow, list[int]]:
    told: list[int] = []
    return Inflow(told.append, lambda: window, granted=granted, limit=limit), told


def outflow(allowed: int, piece: int = PIECE_BYTES) -> tuple[Outflow, Sent]:
    sent: Sent = []

    async def send(offset: int, content: bytes, last: bool) -> None:  # noqa: FBT001
        sent.append((offset, content, last))

    return Outflow(send, allowed=allowed, offset=0, piece=piece), sent


async def all_of(flow: Inflow) -> bytes:
    found = b""
    while piece := await flow.read():
        found += piece
    return found


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=9), max_size=12), st.randoms())
def test_chunks_in_any_order_and_more_than_once_are_the_body(
    pieces: list[bytes], chance: object
) -> None:
    async def run() -> None:
        flow, _ = inflow(granted=10_000)
        chunks, offset = [], 0
        for piece in pieces:
            chunks.append((offset, piece, False))
            offset += len(piece)
        chunks.append((offset, b"", True))
        twice = chunks * 2
        chance.shuffle(twice)  # type: ignore[attr-defined]
        for at, content, last in twice:
            flow.take(at, content, last=last)
        assert await all_of(flow) == b"".join(pieces)
        assert flow.drained

    asyncio.run(run())


async def test_a_reader_lets_more_come_only_when_it_has_taken_some() -> None:
    flow, told = inflow(window=1000)
    reading = asyncio.create_task(flow.read())
    await until(lambda: told == [1000])
    flow.take(0, b"a" * 400, last=False)
    assert len(await reading) == 400
    assert told == [1000]  # 600 may still come
    flow.take(400, b"a" * 600, last=False)
    assert len(await flow.read()) == 600
    assert told == [1000, 2000]


@pytest.mark.parametrize(
    "break_it",
    [
        lambda flow: flow.take(0, b"a" * 5001, last=False),
        lambda flow: flow.take(4999, b"ab", last=False),
        lambda flow: [flow.take(n, b"a", last=False) for n in range(2, 2000)],
    ],
    ids=["too much", "too far", "too many that wait"],
)
def test_more_than_was_allowed_is_refused(break_it: Callable[[Inflow], object]) -> None:
    flow, _ = inflow(granted=5000)
    with pytest.raises(InvalidMessage):
        break_it(flow)


async def test_a_body_has_a_limit() -> None:
    flow, _ = inflow(granted=100, limit=10)
    flow.take(0, b"a" * 10, last=False)
    with pytest.raises(PayloadTooLarge):
        flow.take(10, b"b", last=True)


async def test_a_failure_comes_after_what_was_there() -> None:
    flow, _ = inflow(granted=100)
    flow.take(0, b"abc", last=False)
    flow.fail(Disconnected("gone"))
    assert await flow.read() == b"abc"
    for _ in range(2):
        with pytest.raises(Disconnected, match="gone"):
            await flow.read()


async def test_a_writer_waits_for_credit_and_splits() -> None:
    flow, sent = outflow(allowed=5, piece=4)
    writing = asyncio.create_task(flow.write(b"0123456789", last=True))
    await until(lambda: len(sent) == 2)
    assert sent == [(0, b"0123", False), (4, b"4", False)]
    assert not writing.done()
    flow.credit(3)  # less than before means nothing
    flow.credit(100)
    await writing
    assert sent[2:] == [(5, b"5678", False), (9, b"9", True)]
    assert flow.complete


async def test_the_end_needs_no_credit() -> None:
    flow, sent = outflow(allowed=0)
    await flow.write(b"")
    await flow.write(b"", last=True)
    assert sent == [(0, b"", True)]


async def test_a_writer_that_waits_is_told_of_a_failure() -> None:
    flow, _ = outflow(allowed=0)
    writing = asyncio.create_task(flow.write(b"x"))
    await asyncio.sleep(0)
    flow.fail(Disconnected("gone"))
    with pytest.raises(Disconnected, match="gone"):
        await writing


def test_all_windows_together_stay_below_what_nats_server_lets_wait() -> None:
    assert max(n * window_bytes(n) for n in range(1, 257)) <= 64 << 20
