"""What a response begins with, how long it is waited for, and how it can break off."""

from __future__ import annotations

from typing import NamedTuple

from authsvc.errors import DeadlineExceeded, Disconnected
from authsvc.rpc._messages.message import Response
from authsvc.rpc._wire.chunks import HeadFrame
from authsvc.rpc._wire.frames import Pairs

__all__ = ["DAY", "Begun", "Broken", "Head", "Timeouts", "WriteTimedOut", "head_of"]

DAY = 86400.0


class Timeouts(NamedTuple):
    """Seconds to wait, each None for no limit.

    Args:
        connect: For a connection.
        read: For the response's head after the request was sent, and for each further piece.
        write: For the responder to take a piece of the request's body.
    """

    connect: float | None = 30.0
    read: float | None = 30.0
    write: float | None = 30.0


class WriteTimedOut(DeadlineExceeded):
    """The responder took no more of the request's body."""


class Broken(Disconnected):
    """The responder's messages broke the rules of the wire format."""


class Head(NamedTuple):
    """What a response begins with; the body is whole, or comes in chunks."""

    status: int
    pairs: Pairs
    content: bytes
    whole: bool


class Begun(Response):
    """The head of a response in chunks, where a whole response would stand."""

    __slots__ = ()

    def __init__(self, frame: HeadFrame) -> None:
        super().__init__(b"", frame.status, ())
        self._headers = frame.headers


def head_of(response: Response) -> Head:
    """The head, of a response that is whole or has only begun."""
    whole = not isinstance(response, Begun)
    return Head(response.status, response.pairs, response.content, whole)
