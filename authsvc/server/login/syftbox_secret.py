"""Login with a SyftBox access token, by the secret that signs it."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from authsvc.errors import InvalidToken
from authsvc.server.login.identity import Identity, check_claim, proved
from authsvc.server.login.token import UnverifiedToken

__all__ = ["SYFTBOX", "SyftboxSecret", "describe_syftbox"]

SYFTBOX = "syftbox"
"""The name of both ways: clients present the same token."""


_MAX_BELIEVED = 2048


class _Believed(NamedTuple):
    """Whom a token proved whose signature held; it holds again, times have to be looked at."""

    identity: Identity
    valid_from: float
    expires_at: float


class SyftboxSecret:
    """Believes tokens signed with the secret that the SyftBox server and this service share.

    Who logs in again presents the same token for hours, and the secret stays the same as long as
    the process: what was verified once need not be again. Refusals are not remembered.

    Args:
        secret: ``auth.access_token_secret`` of the SyftBox server.
        issuer: ``auth.token_issuer`` of the SyftBox server, if it is to be checked.
        url: The SyftBox server, if clients are to be told.
    """

    name = SYFTBOX

    def __init__(self, secret: str, issuer: str | None = None, url: str | None = None) -> None:
        self._mac = hmac.new(secret.encode(), digestmod="sha256")
        self._issuer = issuer
        self._url = url
        # By digest, so that no token lies about in memory; the oldest goes first.
        self._believed: dict[bytes, _Believed] = {}

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """Who the token's signature proves.

        Raises:
            InvalidToken: It proves nothing.
            InvalidName: It proves a name that the contract refuses.
        """
        if not token.isascii():
            raise InvalidToken("token: not ASCII")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._believed.get(digest)
        if known is None or not known.valid_from <= now < known.expires_at:
            known = self._verify(token, now)
            if len(self._believed) >= _MAX_BELIEVED:
                del self._believed[next(iter(self._believed))]
            self._believed[digest] = known
        if claimed is not None:
            check_claim(known.identity.username, claimed)
        return known.identity

    def _verify(self, token: str, now: float) -> _Believed:
        unverified = UnverifiedToken.parse(token, now, self._issuer)
        self._check_signature(unverified.signing_input, unverified.signature)
        end = unverified.expires_at
        identity = proved(unverified.subject, email=True, method=SYFTBOX, expires_at=end)
        return _Believed(identity, unverified.valid_from, end)

    def _check_signature(self, signing_input: bytes, signature: bytes) -> None:
        # A copy is quicker than a key that is read anew.
        mac = self._mac.copy()
        mac.update(signing_input)
        if not hmac.compare_digest(mac.digest(), signature):
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
