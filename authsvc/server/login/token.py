"""A SyftBox access token, read and not yet believed.

Sources: RFC 7519; RFC 8725 section 3; the token format of the SyftBox server
(https://github.com/OpenMined/syftbox, internal/server/auth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidToken

__all__ = ["MAX_TOKEN_CHARS", "UnverifiedToken", "check_times"]

MAX_TOKEN_CHARS = 4096
_ALGORITHM = "HS256"
_SKEW_SECONDS = 60
# 9999-12-31T23:59:59Z: what comes after can't be written as RFC 3339.
_LAST_SECOND = 253402300799


@dataclass(slots=True, repr=False)
class UnverifiedToken:
    """A token whose form and times are right. Nothing shows yet who made it.

    It is no Identity, and ``subject`` is what it says, not what is so.
    """

    text: str
    signing_input: bytes
    signature: bytes
    subject: str
    expires_at: int
    valid_from: int
    """When it was valid at the earliest, if it says so; else 0."""

    @classmethod
    def parse(cls, text: str, now: float, issuer: str | None = None) -> Self:
        """Read an access token.

        Args:
            text: As presented.
            now: Seconds since the epoch.
            issuer: What ``iss`` must be, if anything.

        Raises:
            InvalidToken: Its form, type, algorithm or issuer is wrong, or it isn't valid now.
        """
        if len(text) > MAX_TOKEN_CHARS:
            raise InvalidToken("token: too long")
        try:
            jws = jose.split(text)
        except InvalidInput as error:
            raise InvalidToken(f"token: {error}") from error
        _check_header(jws.header)
        claims = jws.payload
        if claims.get("type") != "access":
            raise InvalidToken("token: its type is not access")
        if issuer is not None and claims.get("iss") != issuer:
            raise InvalidToken("token: another issuer made it")
        subject = claims.get("sub")
        if not isinstance(subject, str):
            raise InvalidToken("token: sub is missing or no text")
        expires_at = check_times(claims, now)
        return cls(
            text,
            jws.signing_input,
            jws.signature,
            subject,
            expires_at,
            max(claims.get("nbf", 0), claims.get("iat", 0) - _SKEW_SECONDS),
        )


def _check_header(header: dict[str, Any]) -> None:
    if header.get("alg") != _ALGORITHM:
        raise InvalidToken(f"token: alg is not {_ALGORITHM}")
    if header.get("typ", "JWT") != "JWT":
        raise InvalidToken("token: typ is not JWT")
    if "crit" in header or "b64" in header:
        raise InvalidToken("token: crit and b64 are not understood")


def check_times(claims: dict[str, Any], now: float, *, skew: float = 0) -> int:
    """See that claims are valid now.

    Args:
        claims: Of a token.
        now: Seconds since the epoch.
        skew: By how many seconds ``nbf`` may be ahead.

    Returns:
        When they expire, in seconds since the epoch.

    Raises:
        InvalidToken: They have expired or never do, are not valid yet, or a time is none.
    """
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise InvalidToken("token: exp is missing")
    if now >= expires_at:
        raise InvalidToken("token: it has expired")
    not_before = _seconds(claims, "nbf")
    if not_before is not None and now + skew < not_before:
        raise InvalidToken("token: it is not valid yet")
    issued_at = _seconds(claims, "iat")
    if issued_at is not None and issued_at > now + _SKEW_SECONDS:
        raise InvalidToken("token: iat is in the future; do the clocks agree?")
    return expires_at


def _seconds(claims: dict[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    # RFC 7519 allows fractions; no SyftBox server writes them, and 1e400 is one too.
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LAST_SECOND:
        raise InvalidToken(f"token: {name} is no time in whole seconds")
    return value
