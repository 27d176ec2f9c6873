"""An answer in the shape that a syft-rpc user knows."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Self, TypeVar

from authsvc.errors import (
    Backlogged,
    Expired,
    NoResponder,
    PayloadTooLarge,
    PermissionDenied,
    RpcError,
)
from authsvc.rpc._messages.message import Headers, Response
from authsvc.rpc._syftbox.url import SyftUrl

__all__ = ["SyftResponse", "SyftStatus"]

_M = TypeVar("_M")


class SyftStatus(IntEnum):
    """The statuses that syft-rpc gives names to."""

    SYFT_200_OK = 200
    SYFT_400_BAD_REQUEST = 400
    SYFT_403_FORBIDDEN = 403
    SYFT_404_NOT_FOUND = 404
    SYFT_419_EXPIRED = 419
    SYFT_499_CLIENT_CLOSED_REQUEST = 499
    SYFT_500_SERVER_ERROR = 500


_STATUS_OF: tuple[tuple[type[RpcError], int], ...] = (
    (PermissionDenied, 403),
    (NoResponder, 404),
    (PayloadTooLarge, 413),
    (Expired, 419),
    (Backlogged, 429),
)
"""What errors of one call are as statuses, where many calls are made at once."""


class SyftResponse:
    """An answer, with syft-rpc's names for its parts.

    Args:
        url: What was called.
        response: The answer.
        system: Whether the library made it up: nobody answered.
    """

    __slots__ = ("response", "system", "url")

    def __init__(self, url: SyftUrl, response: Response, *, system: bool = False) -> None:
        self.url = url
        self.response = response
        self.system = system

    @staticmethod
    def status_of(error: RpcError) -> int | None:
        """The status that syft-rpc would answer for it; None for an error of another kind."""
        return next((status for kind, status in _STATUS_OF if isinstance(error, kind)), None)

    @classmethod
    def made_up(cls, url: SyftUrl, error: RpcError) -> Self:
        """An answer that nobody gave, for an error that has a status."""
        status = cls.status_of(error) or SyftStatus.SYFT_500_SERVER_ERROR
        return cls(url, Response(str(error), status=status), system=True)

    @property
    def id(self) -> str:
        """The request's id; empty where nobody answered."""
        return self.response.id

    @property
    def sender(self) -> str:
        """Who answered; empty where nobody did."""
        return "" if self.system else self.url.username

    @property
    def status_code(self) -> int:
        """The status; compares with SyftStatus."""
        return self.response.status

    @property
    def headers(self) -> Headers:
        """The headers."""
        return self.response.headers

    @property
    def body(self) -> bytes:
        """The body."""
        return self.response.content

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.response.is_success

    def raise_for_status(self) -> None:
        """Raise for an error status.

        Raises:
            RemoteError: The status is 400 or above.
        """
        self.response.raise_for_status()

    def text(self) -> str:
        """The body as UTF-8 text."""
        return self.response.text

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            ValueError: It is not JSON.
        """
        return self.response.json()

    def model(self, model_cls: type[_M]) -> _M:
        """The body as a pydantic model.

        Raises:
            ValueError: It is none: pydantic's ValidationError.
        """
        validate: Any = model_cls
        found: _M = validate.model_validate_json(self.response.content)
        return found

    def __repr__(self) -> str:
        return f"<SyftResponse {self.status_code} from {self.url}>"
