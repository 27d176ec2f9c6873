"""The little of the library's wire format that the service itself speaks; see docs/wire.md. Pure.

It reads the first line of a request and writes a response without headers of its own. The library
has the whole of it, and is no part of the service.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from authsvc import jose

__all__ = ["RequestLine", "error_response", "read_request"]

_LINE = re.compile(
    rb"AUTHSVC/1 request ([0-9a-f]{32}) (?:0|[1-9][0-9]{0,14}) (0|[1-9][0-9]{0,14}) "
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}) (/[\x21\x22\x24-\x7e]{0,8191})\r\n"
)


class RequestLine(NamedTuple):
    """The first line of a request.

    Args:
        id: 32 lower-case hex digits.
        deadline: In ms since the epoch, by the requester's clock.
        method: Of HTTP's form.
        target: Path and query.
    """

    id: str
    deadline: int
    method: str
    target: str


def read_request(data: bytes) -> RequestLine | None:
    """The first line of a request; None where the message is none of ours."""
    match = _LINE.match(data)
    if match is None:
        return None
    return RequestLine(match[1].decode(), int(match[2]), match[3].decode(), match[4].decode())


def error_response(request_id: str, status: int, detail: str) -> bytes:
    """A response that the library takes for the responder's own.

    Args:
        request_id: The request's.
        status: From 400 to 599.
        detail: What happened.
    """
    head = f"AUTHSVC/1 response {request_id} {status}\r\ncontent-type: application/json\r\n\r\n"
    return head.encode("ascii") + jose.dumps({"detail": detail})
