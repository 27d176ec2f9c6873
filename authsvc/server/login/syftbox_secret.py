"""Login with a SyftBox access token, by the secret that signs it."""

from __future__ import annotations

import hmac

from authsvc.errors import InvalidToken
from authsvc.server.login.identity import Identity, proved
from authsvc.server.login.token import UnverifiedToken

__all__ = ["SYFTBOX", "SyftboxSecret", "describe_syftbox"]

SYFTBOX = "syftbox"
"""The name of both ways: clients present the same token."""


class SyftboxSecret:
    """Believes tokens signed with the secret that the SyftBox server and this service share.

    Args:
        secret: ``auth.access_token_secret`` of the SyftBox server.
        issuer: ``auth.token_issuer`` of the SyftBox server, if it is to be checked.
        url: The SyftBox server, if clients are to be told.
    """

    name = SYFTBOX

    def __init__(self, secret: str, issuer: str | None = None, url: str | None = None) -> None:
        self._secret = secret.encode()
        self._issuer = issuer
        self._url = url

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """Who the token's signature proves.

        Raises:
            InvalidToken: It proves nothing.
            InvalidName: It proves a name that the contract refuses.
        """
        unverified = UnverifiedToken.parse(token, now, self._issuer)
        self._check_signature(unverified.signing_input, unverified.signature)
        return proved(
            unverified.subject,
            email=True,
            method=SYFTBOX,
            expires_at=unverified.expires_at,
            claimed=claimed,
        )

    def _check_signature(self, signing_input: bytes, signature: bytes) -> None:
        wanted = hmac.digest(self._secret, signing_input, "sha256")
        if not hmac.compare_digest(wanted, signature):
            raise InvalidToken("token: the signature does not hold")

    def describe(self) -> dict[str, str]:
        """The name, and the SyftBox server's URL if it is known."""
        return describe_syftbox(self._url, self._issuer)

    async def close(self) -> None:
        """Nothing is held."""


def describe_syftbox(url: str | None, issuer: str | None) -> dict[str, str]:
    """What clients are told of logging in by SyftBox."""
    known = {"name": SYFTBOX, "url": url, "issuer": issuer}
    return {name: value for name, value in known.items() if value is not None}
