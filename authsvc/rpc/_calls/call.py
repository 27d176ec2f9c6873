"""One call in flight, where it ends, and who else may take what comes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from authsvc.errors import RpcError
from authsvc.rpc._messages.message import Response
from authsvc.rpc._wire.frames import Pairs

if TYPE_CHECKING:
    from authsvc.rpc._calls.futures import Future

__all__ = ["Call", "Incoming", "Outcome", "StoredResponses"]


class StoredResponses(Protocol):
    """Who waits for answers to stored requests."""

    def take(self, subject: bytes, data: bytes) -> bool:
        """Take a message; False if it is nobody's here."""

    async def submit(
        self,
        name: str,
        app: str,
        message: tuple[bytes, Pairs, bytes],
        *,
        expires: float,
        timeout: float,
    ) -> Future:
        """Store a request and return its Future."""


class Outcome(Protocol):
    """Where a call ends: a future, or a thread that waits."""

    def done(self) -> bool:
        """Whether it has ended."""

    def set_result(self, result: Response, /) -> None:
        """It was answered."""

    def set_exception(self, error: BaseException, /) -> None:
        """It was not."""


class Call:
    """One call in flight; ``key`` is the whole subject of its response.

    ``deadline`` is when its time is over, on ``time.monotonic()``.
    """

    __slots__ = (
        "deadline",
        "future",
        "idempotent",
        "key",
        "lost",
        "payload",
        "reply",
        "resent",
        "subject",
        "tick",
    )

    def __init__(
        self, subject: str, key: bytes, reply: str, payload: bytes, *, idempotent: bool
    ) -> None:
        self.subject = subject
        self.key = key
        self.reply = reply
        self.payload = payload
        self.idempotent = idempotent
        self.lost = self.resent = False
        self.tick = 0
        self.deadline = 0.0
        self.future: Outcome

    def take(self, data: bytes) -> bool:  # noqa: ARG002  for calls whose bodies come in chunks
        """Take what is no response; whether it was anything of ours."""
        return False


class Incoming(Protocol):
    """A response that goes on in chunks after its head."""

    def take(self, data: bytes) -> bool:
        """Take a message that came on its subject; whether it was anything of ours."""

    def fail(self, error: RpcError) -> None:
        """There will be no more."""

    def give_up(self, error: RpcError) -> None:
        """``fail``, and tell the responder."""
