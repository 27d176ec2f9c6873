"""What is written to a connection leaves in few pieces, in order and whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from authsvc.server.api.writes import JoinedWrites


class _Wire(asyncio.Transport):
    """What arrives at the connection's own transport."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.ended = ""

    def is_closing(self) -> bool:
        return bool(self.ended)

    def write(self, data: Any) -> None:
        assert not self.ended
        self.pieces.append(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"


@pytest.fixture
async def wire() -> _Wire:
    return _Wire()


@pytest.fixture
async def joined(wire: _Wire) -> JoinedWrites:
    return JoinedWrites(wire, asyncio.get_running_loop())


async def test_two_writes_are_one(wire: _Wire, joined: JoinedWrites) -> None:
    for piece in (b"head ", b"body", b"chunk ", b"chunk"):
        joined.write(piece)
    assert wire.pieces == [b"head body", b"chunk chunk"]
    await asyncio.sleep(0)
    assert len(wire.pieces) == 2


async def test_one_write_waits_for_a_turn_and_no_longer(wire: _Wire, joined: JoinedWrites) -> None:
    joined.write(b"a")
    assert wire.pieces == []
    await asyncio.sleep(0)
    assert wire.pieces == [b"a"]
    joined.write(b"b")
    joined.writelines((b"c", b"d"))
    joined.write(b"e")
    joined.close()
    assert wire.pieces == [b"a", b"b", b"cd", b"e"]
    assert joined.is_closing()
    assert wire.ended == "closed"


async def test_nothing_is_written_where_the_connection_ended(
    wire: _Wire, joined: JoinedWrites
) -> None:
    joined.write(b"a")
    wire.ended = "lost"
    await asyncio.sleep(0)
    joined.write(b"b")
    joined.abort()
    await asyncio.sleep(0)
    assert wire.pieces == []
    assert wire.ended == "aborted"
