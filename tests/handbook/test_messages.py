"""docs/messages.md: the message that it shows is one."""

from __future__ import annotations

from pathlib import Path

from authsvc.rpc._wire.frames import decode_request
from tests.terminals import blocks

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text("utf-8")


def test_the_message_that_it_shows_is_one() -> None:
    (block,) = blocks(PAGE)
    frame = decode_request(block.text.rstrip("\n").replace("\n", "\r\n").encode())
    assert (frame.method, frame.target, frame.content) == ("POST", "/ping", b'{"n":1}')
