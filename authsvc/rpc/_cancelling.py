"""A requester that gives up tells the responder, and the handler is cancelled.

    requests.{requester}.{responder}.{app}.cancel      AUTHSVC/1 cancel <id>

Every instance of the app hears it, outside their queue group, because only one of them has the
request. Only the requester itself may publish there.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from authsvc.errors import InvalidMessage
from authsvc.rpc._messages import Request, Response
from authsvc.rpc._threads import Threads

__all__ = ["CANCEL", "cancel_bytes", "decode_cancel", "give_up", "unbroken"]

CANCEL = ".cancel"

_CANCEL = re.compile(rb"AUTHSVC/1 cancel ([0-9a-f]{32})\r\n\r\n")

Call = Callable[[Request, Threads], Awaitable[Response]]


def cancel_bytes(request_id: str) -> bytes:
    """The message for an id that is known to be good."""
    return b"AUTHSVC/1 cancel %b\r\n\r\n" % request_id.encode("ascii")


def decode_cancel(data: bytes) -> str:
    """The id of the request that is given up.

    Raises:
        InvalidMessage: It is no such message.
    """
    match = _CANCEL.fullmatch(data)
    if match is None:
        raise InvalidMessage("not a cancellation of this wire format")
    return match[1].decode("ascii")


def give_up(request: Request) -> None:
    """Mark that nobody waits for the answer."""
    request.expires = 0.0


def unbroken(call: Call) -> Call:
    """The same call, which goes on when its requester gives up."""

    async def run(request: Request, threads: Threads) -> Response:
        threads.held.add(request)
        try:
            return await call(request, threads)
        finally:
            threads.held.discard(request)

    return run
