"""What a service is to those who serve it: an app that responds, and what is counted of it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from typing import Protocol

from authsvc.rpc._loops.threads import Threads
from authsvc.rpc._messages.message import Request, Response

__all__ = ["App", "ServiceStats", "problem"]


@dataclass(slots=True)
class ServiceStats:
    """What a service counted since it was made.

    ``malformed`` messages came without our framing, or on a subject that is none of ours.
    """

    requests: int = 0
    responses: int = 0
    errors: int = 0
    expired: int = 0
    refused: int = 0
    rejected: int = 0
    cancelled: int = 0
    unsigned: int = 0
    malformed: int = 0
    unanswered: int = 0
    stored: int = 0
    redelivered: int = 0
    returned: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counters by name."""
        return asdict(self)


class App(Protocol):
    """What is served."""

    @property
    def name(self) -> str:
        """The app's canonical name."""

    @property
    def stats(self) -> ServiceStats:
        """What is counted."""

    @property
    def max_body(self) -> int:
        """Bytes of a request's body in chunks, at most."""

    def respond(self, request: Request, threads: Threads) -> Awaitable[Response]:
        """The answer to a request; only a cancellation comes out of it."""

    def failed(self, request: Request) -> Response:
        """The answer for a handler that raised."""


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """What the library itself answers: JSON with a ``detail``."""
    return Response({"detail": detail}, status=status, headers=headers or {})
