from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import jose
from authsvc.errors import InvalidInput

NUMBERS = st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text('abé<&>\u2028"\\\x00', max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab<&"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text("abc<>"), JSON, max_size=3)
HOW = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}])


@given(st.binary())
def test_base64url_round_trips(data: bytes) -> None:
    text = jose.b64encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert jose.b64decode(text) == jose.b64decode(text.encode()) == data


@given(st.text() | st.text("AQgw-_+/= \n"))
def test_base64url_has_one_spelling(text: str) -> None:
    try:
        data = jose.b64decode(text)
    except InvalidInput:
        return
    assert jose.b64encode(data) == text


@pytest.mark.parametrize("text", [
    "A", "AB", "AAB", "AA==", "A+==", "+AAA", "/AAA", "AA AA", "AAA\n", "\xc4", b"\xff\xff",
])  # fmt: skip
def test_wrong_base64url_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        jose.b64decode(text)


@given(OBJECTS, HOW)
def test_objects_are_read_in_every_spelling(value: dict[str, Any], how: Any) -> None:
    text = json.dumps(value, **how)
    assert jose.loads(text) == jose.loads(text.encode()) == value
    assert jose.loads(jose.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"\\u003e":1,">":2}',
        '{"a":{"b":1,"b":1}}',
        '{"a":[{"b":1,"b":1}]}',
        '{"a":{},"b":[1,{"c":0,"c":0}]}',
    ],
)
def test_a_member_that_stands_twice_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="twice"):
        jose.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "[]", "1", "null", '"a"', "{", "{}x", "{'a':1}", '{"a":NaN}', '{"a":Infinity}',
        '{"a":-Infinity}', '{"a":01}', '{"a":1,}', '{"a":"\\ud800"}', '{"a":"\n"}', "{} {}",
        '{"a":/**/1}', "\ufeff{}", b"\xff", b'{"a":"\xff"}', '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"), "{" + '"a":{' * 5000, '{"a":' + "[" * 100_000, "\ud800",
        '{"a":' + "1" * 5000 + "}", '{"a":' + "[" * 1500 + "]" * 1500 + "}", '{"a":1e999}',
        b" " * ((1 << 20) + 1), '{"a":' + "9" * 400 + "}",
    ],
)  # fmt: skip
def test_what_is_no_strict_json_object_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        jose.loads(text)


@given(st.binary() | st.text())
def test_anything_is_read_or_refused(data: bytes | str) -> None:
    with contextlib.suppress(InvalidInput):
        assert isinstance(jose.loads(data), dict)


def compact(*parts: bytes) -> str:
    return ".".join(jose.b64encode(part) for part in parts)


@given(OBJECTS, OBJECTS, st.binary())
def test_a_jws_is_taken_apart(header: dict[str, Any], payload: dict[str, Any], sig: bytes) -> None:
    head, body = jose.dumps(header), jose.dumps(payload)
    text = compact(head, body, sig)
    jws = jose.split(text)
    assert (jws.header, jws.payload, jws.signature) == (jose.loads(head), jose.loads(body), sig)
    assert jws.signing_input == text.rpartition(".")[0].encode()


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", compact(b"{}"), compact(b"{}", b"{}"), compact(b"{}", b"{}", b"", b""),
     compact(b"[]", b"{}", b""), compact(b"{}", b"1", b""), compact(b"{}", b'{"a":1,"a":1}', b""),
     compact(b"{}", b"{}", b"x") + "=", compact(b"{}", b"{}", b"x") + "\n",
     " " + compact(b"{}", b"{}", b"x"), "é.é.é"],
)  # fmt: skip
def test_what_is_no_compact_jws_is_refused(text: str) -> None:
    assert jose.split(compact(b"{}", b"{}", b"x"))
    with pytest.raises(InvalidInput):
        jose.split(text)


@pytest.mark.parametrize("depth", [250, 255, 300, 900, 1022, 1100, 5000])
@pytest.mark.parametrize(("start", "end"), [('{"a":', "}"), ('{"a":[', "]}")])
def test_deep_nesting_is_read_or_refused(start: str, end: str, depth: int) -> None:
    text = start * depth + "1" + end * depth
    try:
        assert jose.loads(text)
    except InvalidInput:
        assert depth > 125
