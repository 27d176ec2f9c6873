"""One call in flight, where it ends, and who else may take what comes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from authsvc.errors import RpcError
from authsvc.rpc._messages.message import Response
from authsvc.rpc._wire.frames import Pairs

if TYPE_CHECKING:
    from authsvc.rpc._calls.futures import Future

__all__ = ["Call", "Incoming", "Outcome", "StoredResponses"]

_WORD = len("requests")


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

    Args:
        subject: The request's.
        request_id: Its id.
        payload: What is sent.
        idempotent: Whether it may be sent again.
    """

    __slots__ = (
        "bucket",
        "deadline",
        "future",
        "id",
        "idempotent",
        "key",
        "lost",
        "payload",
        "reply",
        "resent",
        "subject",
    )

    def __init__(self, subject: str, request_id: str, payload: bytes, *, idempotent: bool) -> None:
        end = f"{subject[_WORD:]}.{request_id}"
        self.subject = subject
        self.id = request_id
        self.key = f"responses{end}".encode("ascii")
        self.reply = f"_INBOX{end}"
        self.payload = payload
        self.idempotent = idempotent
        self.lost = self.resent = False
        self.deadline = 0.0
        # Those whose time is over in the same moment, this one among them.
        self.bucket: dict[bytes, Call] | None = None
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
