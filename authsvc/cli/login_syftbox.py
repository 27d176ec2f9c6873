"""Signing in at a SyftBox server: a code by e-mail, for an access token and a refresh token.

    server = SyftboxServer("https://syftbox.net")
    server.send_code("alice@example.com")
    tokens = server.verify("alice@example.com", "12345678")

Routes: ``POST /auth/otp/request``, ``/auth/otp/verify``, ``/auth/refresh`` of OpenMined's syftbox.
"""

from __future__ import annotations

import time
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from authsvc import jose
from authsvc.errors import InvalidInput, NotAuthenticated, Unavailable
from authsvc.unreachable import unreachable

__all__ = ["SyftboxServer", "Tokens", "ends_soon", "insecure"]

_SECONDS = 15.0
_EARLY_SECONDS = 60
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Tokens(NamedTuple):
    """What a SyftBox server gives out for a code."""

    access: str
    refresh: str | None


class SyftboxServer:
    """A SyftBox server.

    Args:
        url: Where it is.

    Raises:
        InvalidInput: Not an http or https URL.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidInput(
                f"{url!r} is no URL of a SyftBox server, such as https://syftbox.net"
            )
        self.url = url.rstrip("/")

    def send_code(self, email: str) -> None:
        """Have a code sent to an e-mail address.

        Raises:
            InvalidInput: The server says that it is no e-mail address.
            Unavailable: The server can't be reached, can't send, or asks to wait.
        """
        answer = self._post("/auth/otp/request", {"email": email})
        if answer.status_code == httpx.codes.BAD_REQUEST:
            raise InvalidInput(f"the SyftBox server takes {email!r} for no e-mail address")
        if not answer.is_success:
            raise Unavailable(f"the SyftBox server could not send a code ({_why(answer)})")

    def verify(self, email: str, code: str) -> Tokens:
        """Exchange a code for tokens; each code works once.

        Raises:
            NotAuthenticated: The code is not the one that was sent, or too old.
            Unavailable: The server can't be reached, or asks to wait.
        """
        answer = self._post("/auth/otp/verify", {"email": email, "code": code})
        if not answer.is_success:
            raise NotAuthenticated(
                "the SyftBox server refuses the code: it was mistyped, used before, or is too "
                "old; authsvc login has a new one sent"
            )
        return _tokens(answer, None)

    def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token.

        Raises:
            NotAuthenticated: The server refuses it.
            Unavailable: The server can't be reached, or asks to wait.
        """
        answer = self._post("/auth/refresh", {"refreshToken": token})
        if not answer.is_success:
            raise NotAuthenticated(
                "the SyftBox server refuses the refresh token; log in again: authsvc login"
            )
        return _tokens(answer, token)

    def _post(self, path: str, body: dict[str, str]) -> httpx.Response:
        try:
            with httpx.Client(timeout=_SECONDS, follow_redirects=False) as http:
                answer = http.post(self.url + path, json=body)
        except httpx.HTTPError as error:
            why = unreachable(error)
            raise Unavailable(
                f"the SyftBox server can't be reached at {self.url} ({why})"
            ) from error
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            raise Unavailable("the SyftBox server takes no more for now; try again in a minute")
        if answer.is_redirect or answer.status_code == httpx.codes.NOT_FOUND:
            raise Unavailable(f"{self.url} does not answer as a SyftBox server does")
        if answer.is_server_error and path != "/auth/otp/request":
            raise Unavailable(f"the SyftBox server failed ({_why(answer)}); try again later")
        return answer


def ends_soon(token: str) -> bool:
    """Whether an access token has less than a minute left; one that can't be read has."""
    try:
        expires = jose.split(token).payload.get("exp")
    except InvalidInput:
        return True
    return not isinstance(expires, int | float) or expires < time.time() + _EARLY_SECONDS


def insecure(url: str) -> bool:
    """Whether what is sent there can be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


def _tokens(answer: httpx.Response, before: str | None) -> Tokens:
    try:
        found = jose.loads(answer.content)
    except InvalidInput:
        found = {}
    access, refresh = found.get("accessToken"), found.get("refreshToken")
    if not isinstance(access, str) or not access:
        raise Unavailable("the SyftBox server did not answer as one does: there is no access token")
    return Tokens(access, refresh if isinstance(refresh, str) and refresh else before)


def _why(answer: httpx.Response) -> str:
    try:
        code = jose.loads(answer.content).get("code")
    except InvalidInput:
        code = None
    plain = isinstance(code, str) and code.isascii() and code.isprintable()
    return f"{answer.status_code} {code}" if plain else str(answer.status_code)
