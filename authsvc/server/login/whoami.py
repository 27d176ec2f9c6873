"""Login with an access token of the legacy SyftBox server (Python), by asking that server.

``POST /auth/whoami`` answers ``{"email": ...}`` to whom it knows. A legacy server without
authentication takes unsigned base64 as a token: anything but a JWT is refused before it is asked,
and what the JWT says of itself has to agree with the answer.

Source: https://github.com/OpenMined/syftbox, syftbox/server/users of the releases in Python.
"""

from __future__ import annotations

import logging
from typing import Any

from authsvc import jose, subjects
from authsvc.errors import InvalidInput, InvalidName, InvalidToken, LoginUnavailable
from authsvc.server.login.asked import Asked
from authsvc.server.login.identity import Identity, proved
from authsvc.server.login.remote import Remote
from authsvc.server.login.token import MAX_TOKEN_CHARS, check_times

__all__ = ["LegacyWhoami"]

_ROUTE = "/auth/whoami"
_ALGORITHMS = ("HS256", "HS384", "HS512")
_TYPE = "access_token"

_log = logging.getLogger(__name__)


class LegacyWhoami:
    """Believes whom the legacy SyftBox server names.

    A token it accepted is not asked about again for a minute. Refusals are never remembered.

    Args:
        url: The legacy SyftBox server.
    """

    name = "whoami"

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._remote = Remote("the legacy SyftBox server")
        self._asked = Asked()

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """Whom the server names for the token.

        Raises:
            InvalidToken: It is no access token with an end, or the server refuses it.
            InvalidName: The contract refuses the name.
            LoginUnavailable: The server can't be reached, or answers what it never should.
        """
        claims = _read(token)
        expires_at = check_times(claims, now)
        email = await self._asked.about(token, expires_at, now, lambda: self._ask(token))
        if "email" in claims and not _same(claims["email"], email):
            raise InvalidToken("token: the server names another e-mail than the token")
        return proved(email, email=True, method=self.name, expires_at=expires_at, claimed=claimed)

    def describe(self) -> dict[str, str]:
        """The name and the server's URL."""
        return {"name": self.name, "url": self._url}

    async def close(self) -> None:
        """Close the connections to the server."""
        self._asked.stop()
        await self._remote.close()

    async def _ask(self, token: str) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        status, body = await self._remote.ask("POST", self._url + _ROUTE, headers=headers)
        if status in {401, 403}:
            raise InvalidToken(f"token: the legacy SyftBox server refuses it: {status}")
        email = _email(body) if status == 200 else None  # noqa: PLR2004
        if email is None:
            _log.warning("the legacy SyftBox server answered %d to whoami", status)
            raise LoginUnavailable("the legacy SyftBox server does not say whose the token is")
        return email


def _read(token: str) -> dict[str, Any]:
    """What an access token says of itself; the server has to confirm it."""
    if len(token) > MAX_TOKEN_CHARS:
        raise InvalidToken("token: too long")
    try:
        jws = jose.split(token)
    except InvalidInput as error:
        raise InvalidToken(f"token: {error}") from error
    if jws.header.get("alg") not in _ALGORITHMS or not jws.signature:
        raise InvalidToken("token: it is not signed as the legacy server signs")
    if jws.header.get("typ", "JWT") != "JWT" or "crit" in jws.header or "b64" in jws.header:
        raise InvalidToken("token: typ is not JWT, or crit or b64 is there")
    if jws.payload.get("type") != _TYPE:
        raise InvalidToken(f"token: its type is not {_TYPE}")
    return jws.payload


def _email(body: bytes) -> str | None:
    try:
        email = jose.loads(body).get("email")
    except InvalidInput:
        return None
    return email if isinstance(email, str) else None


def _same(said: object, email: str) -> bool:
    try:
        return isinstance(said, str) and subjects.username(said) == subjects.username(email)
    except InvalidName:
        return said == email
