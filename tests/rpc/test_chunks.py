"""The wire format of bodies in chunks: bytes both ways, and nothing but InvalidMessage else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidMessage
from authsvc.rpc._wire import chunks
from authsvc.rpc._wire.frames import RequestFrame
from tests.rpc.test_wire import headers, ids, methods, targets, times

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "chunks.json").read_text())
KINDS = {
    "head": (chunks.HeadFrame, chunks.encode_head),
    "chunk": (chunks.ChunkFrame, chunks.encode_chunk),
    "credit": (chunks.CreditFrame, chunks.encode_credit),
    "cancel": (chunks.CancelFrame, chunks.encode_cancel),
}
NUMBERS = times
BODIES = st.binary(max_size=200)

opens = st.builds(
    chunks.OpenFrame,
    st.builds(RequestFrame, ids, times, times, methods, targets, headers, BODIES),
    NUMBERS,
    st.booleans(),
)
parts = st.one_of(
    st.builds(chunks.HeadFrame, ids, ids, st.integers(200, 599), headers, BODIES),
    st.builds(
        chunks.ChunkFrame,
        ids,
        NUMBERS,
        st.booleans(),
        st.binary(min_size=1, max_size=99),
        st.one_of(st.just(b""), st.binary(min_size=64, max_size=64)),
    ),
    st.builds(lambda key, at: chunks.ChunkFrame(key, at, last=True, content=b""), ids, NUMBERS),
    st.builds(chunks.CreditFrame, ids, ids, NUMBERS),
    st.builds(chunks.CancelFrame, ids, st.integers(400, 599)),
)


def encoded(frame: chunks.Frame) -> bytes:
    encode: Any = next(encode for kind, encode in KINDS.values() if isinstance(frame, kind))
    found: bytes = encode(frame)
    return found


@given(opens)
def test_opens_round_trip(frame: chunks.OpenFrame) -> None:
    assert chunks.decode_open(chunks.encode_open(frame)) == frame


@given(parts)
def test_parts_round_trip(frame: chunks.Frame) -> None:
    assert chunks.decode_part(encoded(frame)) == frame


@given(st.one_of(opens.map(chunks.encode_open), parts.map(encoded)), st.data())
def test_what_is_changed_is_refused_or_read_as_what_it_says(data: bytes, draw: Any) -> None:
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:place] + draw.draw(st.binary(max_size=3)) + data[place + 1 :]
    for decode, encode in ((chunks.decode_open, chunks.encode_open), (chunks.decode_part, encoded)):
        try:
            frame: Any = decode(changed)
        except InvalidMessage:
            continue
        assert encode(frame) == changed  # one spelling for each message


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(b"AUTHSVC/1 ".__add__)))
def test_any_bytes_give_a_message_or_one_kind_of_error(data: bytes) -> None:
    for decode in (chunks.decode_open, chunks.decode_part):
        with pytest.raises(InvalidMessage):
            decode(data)


@pytest.mark.parametrize("vector", VECTORS["opens"], ids=lambda v: v["name"])
def test_open_vectors(vector: dict[str, Any]) -> None:
    fields = plain(vector["frame"])
    window, more = fields.pop("window"), fields.pop("more")
    frame = chunks.OpenFrame(RequestFrame(**fields), window, more)
    assert chunks.encode_open(frame) == base64.b64decode(vector["bytes"])
    assert chunks.decode_open(base64.b64decode(vector["bytes"])) == frame


@pytest.mark.parametrize("vector", VECTORS["parts"], ids=lambda v: v["name"])
def test_part_vectors(vector: dict[str, Any]) -> None:
    fields = plain(vector["frame"])
    kind: Any = KINDS[fields.pop("kind")][0]
    frame = kind(**fields)
    assert encoded(frame) == base64.b64decode(vector["bytes"])
    assert chunks.decode_part(base64.b64decode(vector["bytes"])) == frame


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["name"])
def test_invalid_vectors(vector: dict[str, Any]) -> None:
    for decode in (chunks.decode_open, chunks.decode_part):
        with pytest.raises(InvalidMessage):
            decode(base64.b64decode(vector["bytes"]))


def plain(frame: dict[str, Any]) -> dict[str, Any]:
    found = dict(frame)
    if "content" in found:
        found["content"] = base64.b64decode(found["content"])
    if "headers" in found:
        found["headers"] = tuple((name, value) for name, value in found["headers"])
    return found


ID = "0" * 32


@pytest.mark.parametrize(
    "frame",
    [
        chunks.HeadFrame(ID, ID, 199, (), b""),
        chunks.HeadFrame(ID, ID, 200, (("a", "b\n"),), b""),
        chunks.ChunkFrame(ID, 0, last=False, content=b""),
        chunks.ChunkFrame(ID, -1, last=True, content=b""),
        chunks.ChunkFrame(ID, 10**15, last=True, content=b""),
        chunks.CreditFrame(ID, ID, 10**15),
        chunks.CancelFrame(ID, 200),
        chunks.CancelFrame(ID, 600),
    ],
)
def test_what_cannot_travel_is_refused(frame: chunks.Frame) -> None:
    with pytest.raises(InvalidMessage):
        encoded(frame)
