"""What the service says in the library's wire format is what the library reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidMessage
from authsvc.rpc._wire.frames import RequestFrame, decode_request, decode_response, encode_request
from authsvc.server.provision.frames import RequestLine, error_response, read_request

IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
TIMES = st.integers(0, 999_999_999_999_999)
METHODS = st.text("!#$%&'*+-.^_`|~ABCxyz019", min_size=1, max_size=64)
TARGETS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"))


@given(IDS, TIMES, TIMES, METHODS, TARGETS.map("/{}".format), st.binary())
def test_every_request_is_read(  # noqa: PLR0917
    request_id: str, sent: int, deadline: int, method: str, target: str, content: bytes
) -> None:
    frame = RequestFrame(request_id, sent, deadline, method, target, (("a", "b"),), content)
    line = read_request(encode_request(frame))
    assert line == RequestLine(request_id, deadline, method, target)


@given(st.binary(max_size=8), st.integers(0, 90), st.binary(max_size=4))
def test_nothing_else_is_read(before: bytes, place: int, put: bytes) -> None:
    frame = RequestFrame("ab" * 16, 1, 22, "POST", "/ping?a=1", (), b"body")
    data = bytearray(encode_request(frame))
    data[place : place + len(put)] = put
    changed = before + bytes(data)
    try:
        known = decode_request(changed)
    except InvalidMessage:
        known = None
    line = read_request(changed)
    # The library looks at the headers too; the line alone is what is compared.
    assert line is not None or known is None
    if line is not None and known is not None:
        assert line == RequestLine(known.id, known.deadline, known.method, known.target)


@given(IDS, st.integers(400, 599), st.text())
def test_answers_are_whole(request_id: str, status: int, detail: str) -> None:
    try:
        detail.encode()
    except UnicodeEncodeError:
        return
    found = decode_response(error_response(request_id, status, detail))
    assert (found.id, found.status) == (request_id, status)
    assert found.headers == (("content-type", "application/json"),)
    assert found.content.startswith(b'{"detail":"')
