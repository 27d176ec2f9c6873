"""Login for trying things out: the token is the e-mail itself, and nothing is proven."""

from __future__ import annotations

from authsvc.errors import InvalidToken, StartRefused
from authsvc.server.login.identity import Identity, proved

__all__ = ["DevLogin"]

_MAX_CHARS = 512


class DevLogin:
    """Believes everybody; for a service that only this machine can reach.

    Args:
        loopback: Whether the service is bound to a loopback address.

    Raises:
        StartRefused: It is not.
    """

    name = "dev"

    def __init__(self, *, loopback: bool) -> None:
        if not loopback:
            raise StartRefused(
                "AUTHSVC_DEV_LOGIN lets anybody be anyone and needs a loopback AUTHSVC_HOST such "
                "as 127.0.0.1: unset one of the two"
            )

    async def verify(
        self,
        token: str,
        now: float,  # noqa: ARG002
        *,
        claimed: str | None = None,
    ) -> Identity:
        """Who the token says.

        Raises:
            InvalidToken: Far too long for a name.
            InvalidName: The contract refuses the name.
        """
        if len(token) > _MAX_CHARS:
            raise InvalidToken("dev: the token is too long for an e-mail")
        return proved(token, email=True, method=self.name, expires_at=None, claimed=claimed)

    def describe(self) -> dict[str, str]:
        """The name alone."""
        return {"name": self.name}

    async def close(self) -> None:
        """Nothing is held."""
