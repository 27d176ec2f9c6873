"""A credential as the service answers it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from authsvc.errors import InvalidInput

__all__ = ["Credential"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A credential as the service answers it: one nkey's right to act as one user.

    ``expires_in`` and ``renew_in`` are seconds from when the answer was made; ``app`` is the
    one app that the credential is narrowed to, if it is.
    """

    id: str
    username: str
    subject_token: str
    public_key: str
    account: str
    jwt: str = field(repr=False)
    servers: tuple[str, ...]
    inbox_prefix: str
    issued_at: datetime
    expires_at: datetime
    expires_in: float
    renew_after: datetime
    renew_in: float
    app: str | None = None

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Self:
        """Read a credential's JSON; members not known here are passed over.

        Raises:
            InvalidInput: A member is missing or of the wrong kind.
        """
        try:
            members: dict[str, Any] = {name: str(data[name]) for name in _TEXTS}
            members |= {name: datetime.fromisoformat(data[name]) for name in _TIMES}
            return cls(
                **members,
                servers=tuple(str(server) for server in data["servers"]),
                expires_in=float(data["expires_in"]),
                renew_in=float(data["renew_in"]),
                app=data.get("app") or None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"the answer is not a credential: {error!r}") from error


_TEXTS = ("id", "username", "subject_token", "public_key", "account", "jwt", "inbox_prefix")
_TIMES = ("issued_at", "expires_at", "renew_after")
