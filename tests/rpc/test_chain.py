"""Signed chunks, pure: only the whole of what was signed, in its order, is handed on."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidMessage
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc._wire.chain import Sealing, Unsealing
from authsvc.rpc._wire.chunks import ChunkFrame, decode_part, encode_chunk

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signatures.json").read_text())
KEY = KeyPair.generate(Prefix.USER)
ID, SUBJECT = "0123456789abcdef" * 2, "responses.alice.bob.app." + "0123456789abcdef" * 2


def body(*pieces: bytes, start: bytes = b"head", request_id: str = ID, at: int = 0) -> list[Any]:
    """The chunks of a body, signed."""
    sealing = Sealing(SUBJECT, request_id, start)
    found = []
    for place, piece in enumerate(pieces):
        last = place == len(pieces) - 1
        signature = sealing.signature(KEY, at, piece, last=last)
        found.append(ChunkFrame(request_id, at, last, piece, signature))
        at += len(piece)
    return found


def unsealing(start: bytes = b"head", at: int = 0) -> Unsealing:
    return Unsealing(SUBJECT, ID, start, KEY.public, at)


def handed(one: Unsealing, frames: Any) -> list[bytes]:
    return [found.content for frame in frames for found in one.take(frame)]


@given(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=5), st.data())
def test_any_order_and_twice(pieces: list[bytes], data: st.DataObject) -> None:
    frames = body(*pieces)
    for frame in frames:
        assert decode_part(encode_chunk(frame)) == frame
    mixed = data.draw(st.permutations(frames + frames))
    one = unsealing()
    assert handed(one, mixed) == pieces
    assert one.refused == 0


def test_nothing_that_was_changed_is_handed_on() -> None:
    first, second, third = body(b"aa", b"bb", b"cc")
    other = body(b"aa", b"xx", b"cc", start=b"another head")
    forged = [
        second._replace(content=b"xx"),
        second._replace(last=True),
        second._replace(signature=b""),
        second._replace(signature=third.signature),
        third._replace(offset=2),  # the second was left out
        other[1],  # of another body
        ChunkFrame(ID, 2, last=True, content=b"", signature=third.signature),  # cut off
    ]
    for wrong in forged:
        one = unsealing()
        assert handed(one, [first, wrong]) == [b"aa"]
        assert one.refused == 1
        # What was made up takes no place away from what was sent.
        assert handed(one, [second, third]) == [b"bb", b"cc"]
    for wrong in forged[:4]:
        one = unsealing()
        assert handed(one, [wrong, second, third, first]) == [b"aa", b"bb", b"cc"]
        assert one.refused == 1


def test_the_beginning_the_subject_the_id_and_the_key_are_bound() -> None:
    frames = body(b"aa", b"bb")
    others = [
        Unsealing(SUBJECT, ID, b"other", KEY.public, 0),
        Unsealing(SUBJECT + "x", ID, b"head", KEY.public, 0),
        Unsealing(SUBJECT, "f" * 32, b"head", KEY.public, 0),
        Unsealing(SUBJECT, ID, b"head", KeyPair.generate(Prefix.USER).public, 0),
        Unsealing(SUBJECT, ID, b"head", KEY.public, 1),
    ]
    assert [handed(one, frames) for one in others] == [[]] * 5


def test_what_is_held_is_bounded() -> None:
    one = unsealing()
    frames = [
        ChunkFrame(ID, 2, last=False, content=bytes([n]), signature=b"s" * 64) for n in range(10)
    ]
    assert handed(one, frames) == []
    assert one.refused == 6
    many = (
        ChunkFrame(ID, 10 + n, last=False, content=b"x", signature=b"s" * 64) for n in range(5000)
    )
    assert handed(one, many) == []
    assert len(one._held) <= 1025


@pytest.mark.parametrize("end", [b"A" * 85, b"A" * 87, b"=" * 86, b"A" * 85 + b"B"])
def test_a_signature_has_one_spelling(end: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_part(b"AUTHSVC/1 chunk %b 0 more %b\r\n\r\nx" % (ID.encode(), end))


@pytest.mark.parametrize("vector", VECTORS["chains"], ids=lambda one: one["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    key = KeyPair.from_seed(vector["seed"])
    beginning = base64.b64decode(vector["beginning"])
    sealing = Sealing(vector["subject"], vector["id"], beginning)
    one = Unsealing(vector["subject"], vector["id"], beginning, key.public, vector["offset"])
    wires = []
    for chunk in vector["chunks"]:
        content = base64.b64decode(chunk["content"])
        text = sealing.text(chunk["offset"], content, last=chunk["last"])
        assert base64.b64encode(text).decode() == chunk["text"]
        signature = sealing.signature(key, chunk["offset"], content, last=chunk["last"])
        frame = ChunkFrame(vector["id"], chunk["offset"], chunk["last"], content, signature)
        wires.append(encode_chunk(frame))
        assert base64.b64encode(wires[-1]).decode() == chunk["bytes"]
    for order in itertools.permutations(wires):
        one = Unsealing(vector["subject"], vector["id"], beginning, key.public, vector["offset"])
        found = handed(one, map(decode_part, order))
        assert found == [base64.b64decode(chunk["content"]) for chunk in vector["chunks"]]
