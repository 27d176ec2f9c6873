"""The wire format: requests and responses <-> bytes. No I/O, no clock; see docs/wire.md.

    AUTHSVC/1 request <id> <sent> <deadline> <method> <target>
    AUTHSVC/1 response <id> <status>

Then header lines, an empty line, and the body, each line ended by CR LF as in HTTP. The first
line is what tells our messages from everything nats-server itself can be made to send: publish
acks and API answers begin with ``{``, ``+WPI`` and acks with ``+`` or ``-``, heartbeats and
statuses are empty.

Sources: RFC 9110 section 5 (fields), section 9 (methods); RFC 9112 section 3 (request target).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from authsvc.errors import InvalidMessage

__all__ = [
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "MAX_TARGET_BYTES",
    "MAX_VALUE_BYTES",
    "Pairs",
    "RequestFrame",
    "ResponseFrame",
    "call_line",
    "decode_answer",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "header_block",
    "header_pairs",
    "request_bytes",
    "response_bytes",
    "split_head",
]

Pairs = tuple[tuple[str, str], ...]

MAX_HEADERS = 128
MAX_HEAD_BYTES = 32 * 1024
MAX_TARGET_BYTES = 8192
MAX_VALUE_BYTES = 8192
_CACHED_BLOCK_BYTES = 512

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}"
_NAME = rb"[!#$%&'*+\-.^_`|~0-9a-z]{1,128}"
_TIME = rb"(0|[1-9][0-9]{0,14})"
_TARGET = rb"/[\x21\x22\x24-\x7e]{0,8191}"
_VISIBLE = rb"[\x21-\x7e\x80-\xff]"
_VALUE = _VISIBLE + rb"(?:[\t\x20-\x7e\x80-\xff]*" + _VISIBLE + rb")?"

_REQUEST = re.compile(
    rb"AUTHSVC/1 request ([0-9a-f]{32}) " + _TIME + b" " + _TIME
    + rb" (" + _TOKEN + rb") (" + _TARGET + rb")\r\n"
)  # fmt: skip
_RESPONSE = re.compile(rb"AUTHSVC/1 response ([0-9a-f]{32}) ([2-5][0-9]{2})\r\n")
_LINE = re.compile(rb"(" + _NAME + rb"): ?((?:" + _VALUE + rb")?)")
_ID = re.compile(r"[0-9a-f]{32}")
_CALL = re.compile(_TOKEN + rb" " + _TARGET)
_ANSWER = b"AUTHSVC/1 response "
_ID_END = len(_ANSWER) + 32
_STATUS_END = len(b" 200\r\n") + _ID_END
_STATUSES = {b" %d\r\n" % status: status for status in range(200, 600)}
_MAX_TIME = 999_999_999_999_999


class RequestFrame(NamedTuple):
    """A request as it travels.

    Args:
        id: 32 lower-case hex digits, unpredictable.
        sent: When it left, by the requester's clock, in ms since the epoch.
        deadline: When its requester stops waiting, by the same clock.
        method: An RFC 9110 token.
        target: Path and query, percent-encoded, beginning with ``/``.
        headers: Names in lower case; a name may stand more than once.
        content: The body.
    """

    id: str
    sent: int
    deadline: int
    method: str
    target: str
    headers: Pairs
    content: bytes


class ResponseFrame(NamedTuple):
    """A response as it travels; ``id`` is its request's."""

    id: str
    status: int
    headers: Pairs
    content: bytes


def header_pairs(headers: Iterable[tuple[str, str]]) -> Pairs:
    """Headers in the form that travels: names in lower case, values without space around.

    Raises:
        InvalidMessage: A name is no token, a value holds CR, LF, NUL, another control
            character or anything above U+00FF, one is no str, or there are too many.
    """
    try:
        pairs = tuple((str.lower(name), str.strip(value, " \t")) for name, value in headers)
    except (TypeError, ValueError) as error:
        raise InvalidMessage("headers are pairs of str: a name and a value") from error
    _block(pairs)
    return pairs


def encode_request(frame: RequestFrame) -> bytes:
    """The bytes of a request.

    Raises:
        InvalidMessage: A part of it can't travel.
    """
    if not _ID.fullmatch(frame.id):
        raise InvalidMessage("a request id is 32 lower-case hex digits")
    if not (0 <= frame.sent <= _MAX_TIME and 0 <= frame.deadline <= _MAX_TIME):
        raise InvalidMessage("times are milliseconds since the epoch, with at most 15 digits")
    line = call_line(frame.method, frame.target)
    return request_bytes(frame.id, frame.sent, frame.deadline, line, frame.headers, frame.content)


def request_bytes(  # noqa: PLR0917  the hot path
    request_id: str, sent: int, deadline: int, line: bytes, headers: Pairs, content: bytes
) -> bytes:
    """``encode_request`` for an id and times that are known to be good.

    Args:
        request_id: 32 lower-case hex digits.
        sent: ms since the epoch.
        deadline: ms since the epoch.
        line: From ``call_line``.
        headers: Names in lower case.
        content: The body.

    Raises:
        InvalidMessage: A header can't travel.
    """
    return b"AUTHSVC/1 request %b %d %d %b\r\n%b\r\n%b" % (
        request_id.encode("ascii"),
        sent,
        deadline,
        line,
        _cached_block(headers) if headers else b"",
        content,
    )


def encode_response(frame: ResponseFrame) -> bytes:
    """The bytes of a response.

    Raises:
        InvalidMessage: A part of it can't travel.
    """
    if not _ID.fullmatch(frame.id):
        raise InvalidMessage("a request id is 32 lower-case hex digits")
    return response_bytes(frame.id, frame.status, frame.headers, frame.content)


def response_bytes(request_id: str, status: int, headers: Pairs, content: bytes) -> bytes:
    """``encode_response`` for an id that is known to be good.

    Args:
        request_id: The request's.
        status: From 200 to 599.
        headers: Names in lower case.
        content: The body.

    Raises:
        InvalidMessage: Status or a header can't travel.
    """
    if not 200 <= status <= 599:  # noqa: PLR2004  final statuses
        raise InvalidMessage(f"a status is a number from 200 to 599, not {status}")
    return b"AUTHSVC/1 response %b %d\r\n%b\r\n%b" % (
        request_id.encode("ascii"),
        status,
        _cached_block(headers) if headers else b"",
        content,
    )


def decode_request(data: bytes) -> RequestFrame:
    """Read a request.

    Raises:
        InvalidMessage: It is none of ours.
    """
    match = _REQUEST.match(data)
    if match is None:
        raise InvalidMessage("not a request of this wire format")
    request_id, sent, deadline, method, target = match.groups()
    headers, content = split_head(data, match.end())
    return RequestFrame(
        request_id.decode(),
        int(sent),
        int(deadline),
        method.decode(),
        target.decode(),
        headers,
        content,
    )


def decode_response(data: bytes) -> ResponseFrame:
    """Read a response.

    Raises:
        InvalidMessage: It is none of ours.
    """
    match = _RESPONSE.match(data)
    if match is None:
        raise InvalidMessage("not a response of this wire format")
    headers, content = split_head(data, match.end())
    return ResponseFrame(match[1].decode(), int(match[2]), headers, content)


def decode_answer(data: bytes, request_id: bytes) -> tuple[int, Pairs, bytes]:
    """``decode_response`` for who knows the id: status, headers and body.

    Where the parts of the first line begin is known too, so that it is compared and not searched.

    Args:
        data: What came.
        request_id: The request's; 32 lower-case hex digits.

    Raises:
        InvalidMessage: It is no response to this request.
    """
    status = _STATUSES.get(data[_ID_END:_STATUS_END])
    if status is None or data[:_ID_END] != _ANSWER + request_id:
        raise InvalidMessage("not a response to this request")
    headers, content = split_head(data, _STATUS_END)
    return status, headers, content


def split_head(data: bytes, start: int) -> tuple[Pairs, bytes]:
    """Headers and body of a message whose first line ends at ``start``.

    Raises:
        InvalidMessage: A header is none, or they don't end.
    """
    if data.startswith(b"\r\n", start):
        return (), data[start + 2 :]
    end = data.find(b"\r\n\r\n", start, start + MAX_HEAD_BYTES + 2)
    if end < 0:
        raise InvalidMessage(f"the headers don't end within {MAX_HEAD_BYTES} bytes")
    block = data[start:end]
    # Most messages of a program carry the same few headers.
    pairs = _cached_pairs(block) if len(block) <= _CACHED_BLOCK_BYTES else _pairs(block)
    return pairs, data[end + 4 :]


def _pairs(block: bytes) -> Pairs:
    lines = block.split(b"\r\n")
    if len(lines) > MAX_HEADERS:
        raise InvalidMessage(f"more than {MAX_HEADERS} headers")
    pairs = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None or not line.startswith(b": ", match.end(1)):
            raise InvalidMessage("a line among the headers is no header")
        if len(match[2]) > MAX_VALUE_BYTES:
            raise InvalidMessage(f"a header value has more than {MAX_VALUE_BYTES} bytes")
        pairs.append((match[1].decode("ascii"), match[2].decode("latin-1")))
    return tuple(pairs)


def _block(pairs: Pairs) -> bytes:
    if len(pairs) > MAX_HEADERS:
        raise InvalidMessage(f"more than {MAX_HEADERS} headers")
    lines = []
    for name, value in pairs:
        try:
            line = f"{name}: {value}".encode("latin-1")
        except UnicodeEncodeError as error:
            raise InvalidMessage(
                f"the header {name!r} holds a character above U+00FF; percent-encode it"
            ) from error
        match = _LINE.fullmatch(line)
        if match is None or match[1] != name.encode("latin-1"):
            raise InvalidMessage(f"the header {name!r} has a name or value that can't travel")
        if len(match[2]) > MAX_VALUE_BYTES:
            raise InvalidMessage(f"the header {name!r} has more than {MAX_VALUE_BYTES} bytes")
        lines.append(line + b"\r\n")
    block = b"".join(lines)
    if len(block) > MAX_HEAD_BYTES:
        raise InvalidMessage(f"the headers have more than {MAX_HEAD_BYTES} bytes")
    return block


@lru_cache(256)
def call_line(method: str, target: str) -> bytes:
    """Method and target as they stand in the first line.

    Raises:
        InvalidMessage: One of them can't travel.
    """
    try:
        line = f"{method} {target}".encode("ascii")
    except UnicodeEncodeError as error:
        raise InvalidMessage("method and target are ASCII; percent-encode the target") from error
    if not _CALL.fullmatch(line):
        raise InvalidMessage(
            "a method is a token of at most 64 characters; a target begins with '/', has no white "
            f"space or '#', and at most {MAX_TARGET_BYTES} bytes"
        )
    return line


_cached_pairs = lru_cache(256)(_pairs)
_cached_block = lru_cache(256)(_block)


def header_block(headers: Pairs) -> bytes:
    """Headers as they stand in a message.

    Raises:
        InvalidMessage: A header can't travel.
    """
    return _cached_block(headers) if headers else b""
