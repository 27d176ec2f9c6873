"""Ways to prove who this is: each gives an identity token, and what may be kept for the next."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import typer

from authsvc.cli.login_syftbox import SyftboxServer, Tokens
from authsvc.errors import InvalidInput, NotAuthenticated

__all__ = ["Proof", "ask_code", "ask_email", "from_file", "method_named", "refreshed"]

_TRIES = 3
_CODE = "AUTHSVC_OTP_CODE"


class Proof(NamedTuple):
    """An identity token, and what can bring another one.

    Args:
        token: The identity token.
        tokens: The SyftBox tokens, if it is one of them.
        lasting: Whether the token may be used again and again.
    """

    token: str
    tokens: Tokens | None = None
    lasting: bool = False


def ask_email(given: str | None) -> str:
    """The e-mail address in canonical form.

    Raises:
        BadParameter: It is none, or nobody is there to ask.
    """
    from authsvc.subjects import username  # noqa: PLC0415

    if given is None and not sys.stdin.isatty():
        raise typer.BadParameter("whose login? --email alice@example.com")
    text = given if given is not None else str(typer.prompt("E-mail", err=True))
    try:
        return username(text, email=True)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


def ask_code(server: SyftboxServer, email: str, given: str | None) -> Proof:
    """Tokens for a code: one that was given, or one that is sent now and asked for.

    Args:
        server: That sends it.
        email: Where it is sent.
        given: The code; ``-`` has one sent and reads it from standard input.

    Raises:
        NotAuthenticated: The code is refused.
        Unavailable: The server can't be reached, or can't send.
    """
    known = (given if given != "-" else None) or (os.environ.get(_CODE) if not given else None)
    if known:
        return _proof(server.verify(email, known.strip()))
    server.send_code(email)
    print(f"a code was sent to {email} by {server.url}", file=sys.stderr, flush=True)
    if given == "-" or not sys.stdin.isatty():
        code = sys.stdin.readline().strip()
        if not code:
            raise NotAuthenticated(
                f"no code came: pipe it in, or log in again with --code CODE or {_CODE}"
            )
        return _proof(server.verify(email, code))
    for attempt in range(1, _TRIES + 1):
        code = str(typer.prompt("Code", err=True)).strip()
        try:
            return _proof(server.verify(email, code))
        except NotAuthenticated as error:
            if attempt == _TRIES:
                raise
            print(error, file=sys.stderr)
    raise AssertionError  # the loop returns or raises


def refreshed(server: SyftboxServer, path: Path) -> Proof:
    """Tokens for a refresh token in a file.

    Raises:
        NotAuthenticated: The file can't be read, or the server refuses the token.
    """
    return _proof(server.refresh(from_file(path, "refresh token")))


def from_file(path: Path, what: str) -> str:
    """A secret in a file; ``-`` is standard input.

    Raises:
        NotAuthenticated: It can't be read, or is empty.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        raise NotAuthenticated(f"the file {path} with the {what} can't be read") from None
    if not text.strip():
        raise NotAuthenticated(f"{path} is empty: it should hold the {what}")
    return text.strip()


def method_named(methods: list[dict[str, Any]], *starts: str) -> str | None:
    """The name of the first login method that begins so; None where the service has none."""
    names = [str(it.get("name")) for it in methods]
    return next((name for name in names if name.startswith(starts)), None)


def _proof(tokens: Tokens) -> Proof:
    return Proof(tokens.access, tokens)
