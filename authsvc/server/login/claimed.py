"""As whom somebody tries to log in, before anything is proven; nothing but counting rests on it."""

from __future__ import annotations

from authsvc import jose
from authsvc.errors import InvalidInput
from authsvc.server.login.dev import DevLogin
from authsvc.server.login.device import DeviceLogin
from authsvc.server.login.enrolment import EnrolmentLogin
from authsvc.server.login.identity import LoginMethod
from authsvc.server.login.token import MAX_TOKEN_CHARS

__all__ = ["claimed_identity"]


def claimed_identity(method: LoginMethod, token: str, named: str | None = None) -> str:
    """What the token says who it is for, or else the client; empty if nobody says it.

    Whoever guesses enrolment keys or device tokens is nobody in particular: all such tries from an
    address count together.

    Args:
        method: Whose token it is.
        token: As presented.
        named: Who the client says it is, if it does.
    """
    if isinstance(method, EnrolmentLogin | DeviceLogin):
        return f"({method.name})"
    if isinstance(method, DevLogin):
        return token
    if len(token) <= 2 * MAX_TOKEN_CHARS:
        try:
            subject = jose.split(token).payload.get("sub")
        except InvalidInput:
            subject = None
        if isinstance(subject, str):
            return subject
    return named or ""
