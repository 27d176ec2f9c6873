"""Signatures: what is signed, in one spelling, and nothing else passes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidMessage
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc._wire import frames as wire
from authsvc.rpc._wire import signing
from tests.rpc.test_wire import ID, requests, responses

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "signatures.json").read_text())
KEY = KeyPair.generate(Prefix.USER)


@dataclass
class Sender:
    jwt: str = "a.b.c"
    key: KeyPair = KEY


def request_of(data: bytes, subject: str) -> tuple[bytes, bytes]:
    """The signed text and the signature, as a receiver finds them."""
    found = wire.decode_request(data)
    jwt, signature = signing.signature_of(found.headers)
    assert jwt == "a.b.c"
    return signing.request_text(subject, *found), signature


def holds(data: bytes, subject: str) -> bool:
    text, signature = request_of(data, subject)
    return KEY.public.verify(text, signature)


@given(requests)
def test_signed_requests_can_be_read_and_hold(frame: wire.RequestFrame) -> None:
    data = signing.sealed(wire.encode_request(frame), "requests.a.b.app", Sender())
    found = wire.decode_request(data)
    assert found._replace(headers=found.headers[:-2]) == frame
    assert holds(data, "requests.a.b.app")
    assert holds(data, "requests.a.b.app.stored")
    for subject in ("requests.a.b.app2", "requests.c.b.app", "responses.a.b.app"):
        assert not holds(data, subject)


@given(responses)
def test_signed_responses_can_be_read_and_hold(frame: wire.ResponseFrame) -> None:
    subject = f"responses.a.b.app.{frame.id}"
    found = wire.decode_response(
        signing.sealed(wire.encode_response(frame), subject, Sender())
    )  # fmt: skip
    _, signature = signing.signature_of(found.headers)
    text = signing.response_text(subject, *found)
    assert found._replace(headers=found.headers[:-2]) == frame
    assert KEY.public.verify(text, signature)
    assert not KEY.public.verify(text.replace(b"responses.a.", b"responses.c."), signature)


@given(requests, st.data())
def test_whatever_is_changed_no_longer_holds(frame: wire.RequestFrame, draw: Any) -> None:
    data = signing.sealed(wire.encode_request(frame), "requests.a.b.app", Sender())
    place = draw.draw(st.integers(0, len(data) - 1))
    changed = data[:place] + draw.draw(st.binary(max_size=3)) + data[place + 1 :]
    if changed == data:
        return
    try:
        found = wire.decode_request(changed)
        _, signature = signing.signature_of(found.headers)
    except InvalidMessage:
        return
    assert not KEY.public.verify(signing.request_text("requests.a.b.app", *found), signature)


@given(st.text(st.characters(codec="ascii"), max_size=100))
def test_no_nonce_and_no_jwt_is_a_signed_text(text: str) -> None:
    nonce = all(char.isalnum() or char in "-_." for char in text)
    made = signing.signed_text("requests.a.b.app", text.encode())
    assert not (nonce and made == text.encode())
    assert b" " in made.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authsvc-jwt", "a.b.c"),),
        (("authsvc-signature", "A" * 86), ("authsvc-jwt", "a.b.c")),
        (("authsvc-jwt", "a.b.c"), ("authsvc-signature", "A" * 86), ("x", "y")),
        (("authsvc-jwt", "d"), ("authsvc-jwt", "a.b.c"), ("authsvc-signature", "A" * 86)),
        (("authsvc-signature", "A"), ("authsvc-jwt", "a"), ("authsvc-signature", "A" * 86)),
        (("authsvc-jwt", "a.b.c"), ("authsvc-signature", "A" * 85 + "B")),
        (("authsvc-jwt", "a.b.c"), ("authsvc-signature", "é")),
        (("authsvc-jwt", "a.b.c"), ("authsvc-signature", "A" * 85)),
        (("authsvc-jwt", "a.b.c"), ("authsvc-signature", "A" * 86 + "==")),
        (("authsvc-jwt", "a.b.c"), ("authsvc-signature", "+" * 86)),
    ],
)
def test_what_carries_no_signature(headers: wire.Pairs) -> None:
    with pytest.raises(InvalidMessage):
        signing.signature_of(headers)


@pytest.mark.parametrize(
    "headers",
    [
        (("authsvc-jwt", "x"),),
        (("a", "b"), ("authsvc-signature", "x")),
        tuple((f"x{n}", "v") for n in range(wire.MAX_HEADERS - 1)),
        (*((f"x{n}", "v" * 8000) for n in range(4)), ("y", "v" * 613)),
    ],
)
def test_headers_that_leave_no_room_are_refused(headers: wire.Pairs) -> None:
    message = wire.encode_response(wire.ResponseFrame(ID, 200, headers, b""))
    with pytest.raises(InvalidMessage):
        signing.sealed(message, f"responses.a.b.app.{ID}", Sender())


def test_as_many_headers_as_there_is_room_for_can_be_read() -> None:
    for headers in (
        tuple((f"x{n}", "v") for n in range(wire.MAX_HEADERS - 2)),
        (*((f"x{n}", "v" * 8000) for n in range(4)), ("y", "v" * 612)),
    ):
        message = wire.encode_response(wire.ResponseFrame(ID, 200, headers, b""))
        sealed = signing.sealed(message, f"responses.a.b.app.{ID}", Sender())
        assert len(wire.decode_response(sealed).headers) == len(headers) + 2


@pytest.mark.parametrize("vector", VECTORS["signed"], ids=lambda v: v["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    sender = Sender(vector["jwt"], KeyPair.from_seed(vector["seed"]))
    message, signed = (base64.b64decode(vector[name]) for name in ("message", "bytes"))
    assert signing.sealed(message, vector["subject"], sender) == signed
    text = base64.b64decode(vector["text"])
    if b" request " in message[:20]:
        found: Any = wire.decode_request(signed)
        assert signing.request_text(vector["subject"], *found) == text
    else:
        found = wire.decode_response(signed)
        assert signing.response_text(vector["subject"], *found) == text
    jwt, signature = signing.signature_of(found.headers)
    assert jwt == vector["jwt"]
    assert sender.key.public.verify(text, signature)
