"""The wire format of bodies that travel in chunks: frames <-> bytes. No I/O, no clock.

    AUTHSVC/1 open <id> <sent> <deadline> <window> <whole|more> <method> <target>
    AUTHSVC/1 head <id> <instance> <status>
    AUTHSVC/1 chunk <id> <offset> <more|last> [<signature>]
    AUTHSVC/1 credit <id> <instance> <total>
    AUTHSVC/1 cancel <id> <status>

``open`` and ``head`` go on with headers and the first bytes of the body, as requests and
responses do; the others have no headers. docs/wire.md says who sends what, and where to.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from authsvc.errors import InvalidMessage
from authsvc.rpc._wire.frames import Pairs, RequestFrame, call_line, header_block, split_head
from authsvc.rpc._wire.signing import signature_bytes, signature_chars

__all__ = [
    "OPENING",
    "CancelFrame",
    "ChunkFrame",
    "CreditFrame",
    "Frame",
    "HeadFrame",
    "OpenFrame",
    "decode_open",
    "decode_part",
    "encode_cancel",
    "encode_chunk",
    "encode_credit",
    "encode_head",
    "encode_open",
    "open_bytes",
]

OPENING = b"AUTHSVC/1 open "
"""What an ``open`` begins with, and nothing else."""

_ID = rb"([0-9a-f]{32})"
_NUMBER = rb"(0|[1-9][0-9]{0,14})"
_METHOD = rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64})"
_TARGET = rb"(/[\x21\x22\x24-\x7e]{0,8191})"
_OPEN = re.compile(
    OPENING + _ID + (b" " + _NUMBER) * 3
    + rb" (whole|more) " + _METHOD + b" " + _TARGET + rb"\r\n"
)  # fmt: skip
_HEAD = re.compile(rb"AUTHSVC/1 head " + _ID + b" " + _ID + rb" ([2-5][0-9]{2})\r\n")
_CHUNK = re.compile(
    rb"AUTHSVC/1 chunk " + _ID + b" " + _NUMBER + rb" (more|last)(?: ([A-Za-z0-9_-]{86}))?\r\n\r\n"
)
_CREDIT = re.compile(rb"AUTHSVC/1 credit " + _ID + b" " + _ID + b" " + _NUMBER + rb"\r\n\r\n")
_CANCEL = re.compile(rb"AUTHSVC/1 cancel " + _ID + rb" ([45][0-9]{2})\r\n\r\n")
_MAX_NUMBER = 999_999_999_999_999


class OpenFrame(NamedTuple):
    """A request whose bodies may travel in chunks.

    Args:
        request: The request; its content is the body, or the first bytes of it.
        window: Bytes of the response's body that may be sent before there is more credit.
        more: Whether chunks of the request's body follow.
    """

    request: RequestFrame
    window: int
    more: bool


class HeadFrame(NamedTuple):
    """The beginning of a response whose body goes on in chunks.

    Args:
        id: The request's.
        instance: Which of the app's responders answers, 32 lower-case hex digits.
        status: From 200 to 599.
        headers: Names in lower case.
        content: The first bytes of the body.
    """

    id: str
    instance: str
    status: int
    headers: Pairs
    content: bytes


class ChunkFrame(NamedTuple):
    """Bytes of a body, and where in it they stand; only the last may be empty.

    ``signature`` is its 64 bytes where it is signed; see ``chain``.
    """

    id: str
    offset: int
    last: bool
    content: bytes
    signature: bytes = b""


class CreditFrame(NamedTuple):
    """How many bytes of a body may have been sent in all."""

    id: str
    instance: str
    total: int


class CancelFrame(NamedTuple):
    """One side gives up; why, in an HTTP status from 400 to 599."""

    id: str
    status: int


Frame = HeadFrame | ChunkFrame | CreditFrame | CancelFrame


def encode_open(frame: OpenFrame) -> bytes:
    """The bytes of an ``open``; id and times are known to be good.

    Raises:
        InvalidMessage: Method, target or a header can't travel.
    """
    request = frame.request
    numbers = request.sent, request.deadline, _checked(frame.window)
    line = call_line(request.method, request.target)
    return open_bytes(request.id, numbers, line, request.headers, request.content, more=frame.more)


def open_bytes(
    request_id: str,
    numbers: tuple[int, int, int],
    line: bytes,
    headers: Pairs,
    content: bytes,
    *,
    more: bool,
) -> bytes:
    """``encode_open`` for an id and numbers that are known to be good.

    Args:
        request_id: 32 lower-case hex digits.
        numbers: When it left and when its requester stops waiting, in ms since the epoch; how
            many bytes of the response may come before there is more credit.
        line: From ``call_line``.
        headers: Names in lower case.
        content: The body, or the first bytes of it.
        more: Whether chunks of the body follow.

    Raises:
        InvalidMessage: A header can't travel.
    """
    return b"AUTHSVC/1 open %b %d %d %d %b %b\r\n%b\r\n%b" % (
        request_id.encode("ascii"),
        *numbers,
        b"more" if more else b"whole",
        line,
        header_block(headers),
        content,
    )


def encode_head(frame: HeadFrame) -> bytes:
    """The bytes of a ``head``; id and instance are known to be good.

    Raises:
        InvalidMessage: Status or a header can't travel.
    """
    if not 200 <= frame.status <= 599:  # noqa: PLR2004  final statuses
        raise InvalidMessage(f"a status is a number from 200 to 599, not {frame.status}")
    return b"AUTHSVC/1 head %b %b %d\r\n%b\r\n%b" % (
        frame.id.encode("ascii"),
        frame.instance.encode("ascii"),
        frame.status,
        header_block(frame.headers),
        frame.content,
    )


def encode_chunk(frame: ChunkFrame) -> bytes:
    """The bytes of a ``chunk``.

    Raises:
        InvalidMessage: It is empty and not the last, or its offset is out of bounds.
    """
    if not frame.content and not frame.last:
        raise InvalidMessage("only the last chunk may be empty")
    return b"AUTHSVC/1 chunk %b %d %b%b\r\n\r\n%b" % (
        frame.id.encode("ascii"),
        _checked(frame.offset),
        b"last" if frame.last else b"more",
        b" " + signature_chars(frame.signature) if frame.signature else b"",
        frame.content,
    )


def encode_credit(frame: CreditFrame) -> bytes:
    """The bytes of a ``credit``.

    Raises:
        InvalidMessage: The total is out of bounds.
    """
    return b"AUTHSVC/1 credit %b %b %d\r\n\r\n" % (
        frame.id.encode("ascii"),
        frame.instance.encode("ascii"),
        _checked(frame.total),
    )


def encode_cancel(frame: CancelFrame) -> bytes:
    """The bytes of a ``cancel``.

    Raises:
        InvalidMessage: The status is none of an error.
    """
    if not 400 <= frame.status <= 599:  # noqa: PLR2004  HTTP's error statuses
        raise InvalidMessage(f"a cancellation has a status from 400 to 599, not {frame.status}")
    return b"AUTHSVC/1 cancel %b %d\r\n\r\n" % (frame.id.encode("ascii"), frame.status)


def decode_open(data: bytes) -> OpenFrame:
    """Read an ``open``.

    Raises:
        InvalidMessage: It is none.
    """
    match = _OPEN.match(data)
    if match is None:
        raise InvalidMessage("not an open of this wire format")
    request_id, sent, deadline, window, more, method, target = match.groups()
    headers, content = split_head(data, match.end())
    request = RequestFrame(
        request_id.decode(),
        int(sent),
        int(deadline),
        method.decode(),
        target.decode(),
        headers,
        content,
    )
    return OpenFrame(request, int(window), more == b"more")


def decode_part(data: bytes) -> Frame:
    """Read what follows an ``open``, from either side.

    Raises:
        InvalidMessage: It is nothing of that.
    """
    if match := _CHUNK.match(data):
        content, last = data[match.end() :], match[3] == b"last"
        signature = b"" if match[4] is None else signature_bytes(match[4])
        if content or last:
            return ChunkFrame(match[1].decode(), int(match[2]), last, content, signature)
    elif match := _CREDIT.fullmatch(data):
        return CreditFrame(match[1].decode(), match[2].decode(), int(match[3]))
    elif match := _HEAD.match(data):
        headers, content = split_head(data, match.end())
        return HeadFrame(match[1].decode(), match[2].decode(), int(match[3]), headers, content)
    elif match := _CANCEL.fullmatch(data):
        return CancelFrame(match[1].decode(), int(match[2]))
    raise InvalidMessage("not a part of a body of this wire format")


def _checked(number: int) -> int:
    if not 0 <= number <= _MAX_NUMBER:
        raise InvalidMessage("numbers have at most 15 digits")
    return number
