"""Login with a SyftBox access token, by asking the SyftBox server.

The server has neither a JWKS nor an introspection route. One of its ordinary routes is asked, with
the token: it answers 400 ``E_INVALID_REQUEST`` about the missing parameters only after it has
accepted the token. A server without authentication answers 401 ``E_INVALID_REQUEST``: it proves
nobody.

Source: https://github.com/OpenMined/syftbox, internal/server (routes, middlewares, handlers).
"""

from __future__ import annotations

import logging

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidToken, LoginUnavailable
from authsvc.server.login.asked import Asked
from authsvc.server.login.identity import Identity, proved
from authsvc.server.login.remote import Remote
from authsvc.server.login.syftbox_secret import SYFTBOX, describe_syftbox
from authsvc.server.login.token import UnverifiedToken

__all__ = ["SyftboxProbe"]

_ROUTE = "/api/v1/acl/check"

_log = logging.getLogger(__name__)


class SyftboxProbe:
    """Believes tokens that the SyftBox server accepts.

    A token it accepted is not asked about again for a minute. Refusals are never remembered.

    Args:
        url: The SyftBox server.
        issuer: ``auth.token_issuer`` of the SyftBox server, if it is to be checked.
    """

    name = SYFTBOX

    def __init__(self, url: str, issuer: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._issuer = issuer
        self._remote = Remote("the SyftBox server")
        self._asked = Asked()

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """Who the token proves, as the SyftBox server says.

        Raises:
            InvalidToken: The server refuses it.
            InvalidName: It proves a name that the contract refuses.
            LoginUnavailable: The server can't be reached, or answers what it never should.
        """
        unverified = UnverifiedToken.parse(token, now, self._issuer)
        text, expires_at = unverified.text, unverified.expires_at
        await self._asked.about(text, expires_at, now, lambda: self._ask(text))
        return proved(
            unverified.subject,
            email=True,
            method=SYFTBOX,
            expires_at=expires_at,
            claimed=claimed,
        )

    def describe(self) -> dict[str, str]:
        """The name and the SyftBox server's URL."""
        return describe_syftbox(self._url, self._issuer)

    async def close(self) -> None:
        """Close the connections to the SyftBox server."""
        self._asked.stop()
        await self._remote.close()

    async def _ask(self, token: str) -> str:
        headers = {"Authorization": f"Bearer {token}"}
        status, body = await self._remote.ask("GET", self._url + _ROUTE, headers=headers)
        code = _code(body)
        if (status, code) == (400, "E_INVALID_REQUEST"):
            return code
        if status == 401:  # noqa: PLR2004
            raise InvalidToken(f"token: the SyftBox server refuses it: {code}")
        _log.warning("the SyftBox server answered %d %s to a question about a token", status, code)
        raise LoginUnavailable("the SyftBox server does not say whether the token is good")


def _code(body: bytes) -> str:
    """The answer's error code; empty if there is none."""
    try:
        code = jose.loads(body).get("code")
    except InvalidInput:
        return ""
    return code[:64] if isinstance(code, str) and code.isascii() and code.isprintable() else ""
