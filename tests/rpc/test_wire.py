"""The wire format: bytes both ways, and nothing but InvalidMessage for what is not ours."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidMessage
from authsvc.rpc._wire import frames as wire

ID = "0123456789abcdef0123456789abcdef"
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.!#$%&'*+^`|~", min_size=1, max_size=20)
visible = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"])
values = st.text(
    st.one_of(visible, st.sampled_from(" \t")), max_size=40
).map(lambda text: text.strip(" \t"))  # fmt: skip
headers = st.lists(st.tuples(names, values), max_size=6).map(tuple)
ids = st.text("0123456789abcdef", min_size=32, max_size=32)
times = st.integers(0, 999_999_999_999_999)
methods = st.sampled_from(["GET", "POST", "M-SEARCH", "x", "!#$"])
targets = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=60
).map(lambda text: "/" + text)  # fmt: skip
requests = st.builds(
    wire.RequestFrame, ids, times, times, methods, targets, headers, st.binary(max_size=200)
)
responses = st.builds(
    wire.ResponseFrame, ids, st.integers(200, 599), headers, st.binary(max_size=200)
)


@given(requests)
def test_requests_round_trip(frame: wire.RequestFrame) -> None:
    assert wire.decode_request(wire.encode_request(frame)) == frame


@given(responses)
def test_responses_round_trip(frame: wire.ResponseFrame) -> None:
    assert wire.decode_response(wire.encode_response(frame)) == frame


@given(st.one_of(requests.map(wire.encode_request), responses.map(wire.encode_response)), st.data())
def test_what_is_changed_is_refused_or_read_as_what_it_says(data: bytes, draw: Any) -> None:
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:place] + draw.draw(st.binary(max_size=3)) + data[place + 1 :]
    codecs: Any = (
        (wire.decode_request, wire.encode_request),
        (wire.decode_response, wire.encode_response),
    )
    for decode, encode in codecs:
        try:
            frame = decode(changed)
        except InvalidMessage:
            continue
        assert encode(frame) == changed  # one spelling for each message


@given(responses, st.integers(0, 1 << 16), st.binary(max_size=3), ids)
def test_an_answer_is_read_as_a_response_is_or_refused(
    frame: wire.ResponseFrame, place: int, put: bytes, other: str
) -> None:
    data = wire.encode_response(frame)
    place %= len(data)
    for found in (data, data[:place] + put + data[place + 1 :]):
        try:
            known = wire.decode_response(found)
        except InvalidMessage:
            known = None
        for request_id in (frame.id, other):
            if known is not None and known.id == request_id:
                assert wire.decode_answer(found, request_id.encode()) == known[1:]
            else:
                with pytest.raises(InvalidMessage):
                    wire.decode_answer(found, request_id.encode())


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(b"AUTHSVC/1 ".__add__)))
def test_any_bytes_give_a_message_or_one_kind_of_error(data: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_response):
        with pytest.raises(InvalidMessage):
            decode(data)


@pytest.mark.parametrize("vector", VECTORS["requests"], ids=lambda v: v["name"])
def test_request_vectors(vector: dict[str, Any]) -> None:
    frame = wire.RequestFrame(**_frame(vector))
    assert wire.encode_request(frame) == base64.b64decode(vector["bytes"])
    assert wire.decode_request(base64.b64decode(vector["bytes"])) == frame


@pytest.mark.parametrize("vector", VECTORS["responses"], ids=lambda v: v["name"])
def test_response_vectors(vector: dict[str, Any]) -> None:
    frame = wire.ResponseFrame(**_frame(vector))
    assert wire.encode_response(frame) == base64.b64decode(vector["bytes"])
    assert wire.decode_response(base64.b64decode(vector["bytes"])) == frame


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["name"])
def test_invalid_vectors(vector: dict[str, Any]) -> None:
    data = base64.b64decode(vector["bytes"])
    for decode in (wire.decode_request, wire.decode_response):
        with pytest.raises(InvalidMessage):
            decode(data)


def _frame(vector: dict[str, Any]) -> dict[str, Any]:
    fields = dict(vector["frame"])
    fields["headers"] = tuple((name, value) for name, value in fields["headers"])
    fields["content"] = base64.b64decode(fields["content"])
    return fields


@pytest.mark.parametrize(
    "pair",
    [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("ä", "x"),
        ("x\n", "x"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "a\x7fb"),
        ("x", "a\x1bb"),
        ("x", "\u0100"),
        ("x", "\ud800"),
        ("x", "v" * (wire.MAX_VALUE_BYTES + 1)),
        ("n" * 129, "x"),
    ],
)
def test_headers_that_cannot_travel_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidMessage):
        wire.header_pairs([pair])


def test_headers_are_lower_cased_and_stripped() -> None:
    assert wire.header_pairs([("X-A", " b\t")]) == (("x-a", "b"),)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("", "/"),
        ("GET ", "/"),
        ("GE\nT", "/"),
        ("G" * 65, "/"),
        ("GET", ""),
        ("GET", "x"),
        ("GET", "/a b"),
        ("GET", "/a#b"),
        ("GET", "/a\r\n"),
        ("GET", "/ä"),
        ("GET", "/" + "a" * wire.MAX_TARGET_BYTES),
    ],
)
def test_calls_that_cannot_travel_are_refused(method: str, target: str) -> None:
    with pytest.raises(InvalidMessage):
        wire.encode_request(wire.RequestFrame(ID, 0, 0, method, target, (), b""))


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, 1000, -200])
def test_statuses_that_are_not_final_are_refused(status: int) -> None:
    with pytest.raises(InvalidMessage):
        wire.encode_response(wire.ResponseFrame(ID, status, (), b""))


@pytest.mark.parametrize("time", [-1, 10**15])
def test_times_out_of_bounds_are_refused(time: int) -> None:
    with pytest.raises(InvalidMessage):
        wire.encode_request(wire.RequestFrame(ID, time, 0, "GET", "/", (), b""))
    with pytest.raises(InvalidMessage):
        wire.encode_request(wire.RequestFrame(ID, 0, time, "GET", "/", (), b""))


@pytest.mark.parametrize("request_id", ["", ID.upper(), ID[:-1], ID + "0", ID[:-1] + "\n"])
def test_ids_are_32_lower_case_hex_digits(request_id: str) -> None:
    with pytest.raises(InvalidMessage):
        wire.encode_request(wire.RequestFrame(request_id, 0, 0, "GET", "/", (), b""))
    with pytest.raises(InvalidMessage):
        wire.encode_response(wire.ResponseFrame(request_id, 200, (), b""))


def test_numbers_of_headers_and_their_size_are_bounded() -> None:
    many = tuple((f"x{n}", "v") for n in range(wire.MAX_HEADERS))
    frame = wire.ResponseFrame(ID, 200, many, b"body")
    data = wire.encode_response(frame)
    assert wire.decode_response(data) == frame
    one_more = data.replace(b"x0: v\r\n", b"x0: v\r\nx: v\r\n")
    with pytest.raises(InvalidMessage):
        wire.decode_response(one_more)
    with pytest.raises(InvalidMessage):
        wire.header_pairs([*many, ("x", "v")])
    with pytest.raises(InvalidMessage):
        wire.header_pairs([(f"x{n}", "v" * 8000) for n in range(5)])
    head = b"AUTHSVC/1 response " + ID.encode() + b" 200\r\n"
    with pytest.raises(InvalidMessage):
        wire.decode_response(head + b"x: v\r\n" * 10_000 + b"\r\n")


def test_caches_never_serve_what_was_refused() -> None:
    head = b"AUTHSVC/1 response " + ID.encode() + b" 200\r\n"
    for _ in range(3):
        with pytest.raises(InvalidMessage):
            wire.decode_response(head + b"Upper: x\r\n\r\n")
