"""What is read of JetStream's answers: exactly what was asked for, and nothing else."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import subjects
from authsvc.errors import InvalidInput, InvalidMessage
from authsvc.rpc._calls.futures import Ticket
from authsvc.rpc._wire import jetstream as js
from authsvc.rpc._wire.expiry import expiry_seconds
from authsvc.server.policy import JS_PREFIX, stream_names

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "stored.json").read_text())
BOB = "requests_bob@example%2Ecom"
SUBJECT = "responses.alice.bob.chat.0123456789abcdef0123456789abcdef.stored"

names = st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable())
tokens = st.builds(subjects.token, names)
numbers = st.integers(1, 2**63)
anything = st.one_of(
    st.binary(max_size=80),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-10, 10), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(["stream", "seq", "error", "code", "message", "data", "subject"]),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=8,
    ).map(orjson.dumps),
)


def test_the_names_are_the_services() -> None:
    assert js.stream_names("bob") == stream_names("bob")
    assert js.API == JS_PREFIX


@given(tokens, tokens, numbers, numbers, st.booleans())
def test_ack_subjects_of_both_formats(
    user: str,
    app: str,
    times: int,
    sequence: int,
    second: bool,  # noqa: FBT001
) -> None:
    stream, _ = js.stream_names(user)
    start = "$JS.ACK._.aBc123_-" if second else "$JS.ACK"
    subject = f"{start}.{stream}.{app}.{times}.{sequence}.9.1795577369532511241.0".encode()
    found = js.AckReader(stream, app).read(subject)
    assert found == js.Delivered(times, sequence, 1795577369532511241, 9)
    with pytest.raises(InvalidMessage):
        js.AckReader(stream + "x", app).read(subject)
    with pytest.raises(InvalidMessage):
        js.AckReader(stream, "x" + app).read(subject)


@given(st.one_of(anything, st.binary(max_size=60).map(b"$JS.ACK.".__add__)))
def test_what_is_no_ack_subject_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        js.AckReader(BOB, "chat").read(data)


@given(anything, st.one_of(st.none(), st.binary(max_size=40)))
def test_any_bytes_are_an_answer_or_one_kind_of_error(data: bytes, headers: bytes | None) -> None:
    readers = (
        lambda: js.read_receipt(BOB, data, headers),
        lambda: js.read_message(SUBJECT, data, headers),
        lambda: js.read_status(data, headers),
    )
    for read in readers:
        try:
            found = read()
        except InvalidMessage:
            continue
        assert isinstance(found, js.Stored | js.Refusal | js.Nobody | bytes | js.Status)
        assert not isinstance(found, js.Stored)  # of no stream that these bytes can name


@pytest.mark.parametrize("vector", VECTORS["acks"], ids=lambda one: one["subject"])
def test_ack_vectors(vector: dict[str, Any]) -> None:
    reader = js.AckReader(vector["stream"], vector["consumer"])
    if vector["valid"]:
        found = reader.read(vector["subject"].encode())
        names = ("times", "sequence", "stored_at", "number")
        assert list(found) == [vector[name] for name in names]
    else:
        with pytest.raises(InvalidMessage):
            reader.read(vector["subject"].encode())


@pytest.mark.parametrize("vector", VECTORS["receipts"], ids=lambda one: one["name"])
def test_receipt_vectors(vector: dict[str, Any]) -> None:
    headers = vector.get("headers")
    arguments = (
        vector["stream"], vector["body"].encode(), None if headers is None else headers.encode()
    )  # fmt: skip
    if vector["means"] == "nothing":
        with pytest.raises(InvalidMessage):
            js.read_receipt(*arguments)
        return
    found = js.read_receipt(*arguments)
    if vector["means"] == "nobody":
        assert found is js.NOBODY
    else:
        assert isinstance(found, js.Stored | js.Refusal)
        assert list(found) == vector["means"]


@pytest.mark.parametrize("vector", VECTORS["futures"], ids=lambda one: one["id"])
def test_future_vectors(vector: dict[str, Any]) -> None:
    if not vector["valid"]:
        with pytest.raises(InvalidInput):
            Ticket.parse(vector["id"])
        return
    found = Ticket.parse(vector["id"])
    assert found._asdict() | {"id": vector["id"], "valid": True} == vector
    assert found.id == vector["id"]


@pytest.mark.parametrize("vector", VECTORS["expiries"], ids=lambda one: str(one["text"]))
def test_expiry_vectors(vector: dict[str, Any]) -> None:
    if vector["seconds"] is None:
        with pytest.raises(InvalidInput):
            expiry_seconds(vector["text"])
    else:
        assert expiry_seconds(vector["text"]) == vector["seconds"]


def test_messages_that_are_read() -> None:
    def answer(**message: Any) -> bytes:
        return orjson.dumps({"message": {"subject": SUBJECT, "seq": 1, **message}})

    text = base64.b64encode(b"hello").decode()
    assert js.read_message(SUBJECT, answer(data=text), None) == b"hello"
    assert js.read_message(SUBJECT, answer(), None) == b""
    missing = {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}
    found = js.read_message(SUBJECT, orjson.dumps(missing), None)
    assert found == js.Refusal(404, 10037, "no message found")
    for wrong in (answer(data="%"), answer(data=3), answer(subject="x", data=text), b"[]", b""):
        with pytest.raises(InvalidMessage):
            js.read_message(SUBJECT, wrong, None)


def test_words_for_jetstream() -> None:
    assert js.nak(0) == b"-NAK"
    assert js.nak(1.5) == b'-NAK {"delay":1500000000}'
    body = orjson.loads(js.pull_body(7, expires=20, heartbeat=2.5, max_bytes=9))
    assert body == {
        "batch": 7, "expires": 20_000_000_000, "idle_heartbeat": 2_500_000_000, "max_bytes": 9
    }  # fmt: skip
    assert "max_bytes" not in orjson.loads(js.pull_body(7, expires=20, heartbeat=2.5))
    head = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 12\r\n\r\n"
    assert js.read_status(b"", head) == (408, "Request Timeout", 12)
    for data, headers in ((b"x", head), (b"", None), (b"", b"NATS/1.0\r\nA: b\r\n\r\n")):
        with pytest.raises(InvalidMessage):
            js.read_status(data, headers)
