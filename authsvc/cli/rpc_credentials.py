"""Who ``authsvc rpc`` is: the options that say so, and the clients they make.

In this order: ``--creds``; an identity token by ``--token-file``, ``AUTHSVC_TOKEN_FILE`` or
``AUTHSVC_TOKEN``, with authsvc at ``--url``, ``AUTHSVC_URL`` or where ``context.json`` says;
the login of ``--context``; SyftBox's variables; the login that ``authsvc login`` kept; SyftBox's
configuration. No secret is ever an argument: whoever lists processes reads those.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from authsvc.cli.login import ContextName
from authsvc.errors import NotAuthenticated

__all__ = ["ContextName", "Creds", "Identity", "Key", "Method", "Servers", "TokenFile", "Url"]

_SYFTBOX = (
    "SYFTBOX_ACCESS_TOKEN",
    "SYFTBOX_REFRESH_TOKEN",
    "SYFTBOX_CLIENT_CONFIG_PATH",
    "SYFTBOX_CONFIG_PATH",
)
"""Whoever set one of these, as SyftBox does for its apps, means that person."""

Url = Annotated[
    str | None,
    typer.Option("--url", help="Where authsvc is; AUTHSVC_URL or context.json unless given."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="A file with an identity token; - for standard input. Else AUTHSVC_TOKEN_FILE, "
        "AUTHSVC_TOKEN, the login of authsvc login, or SyftBox's configuration.",
    ),
]
Method = Annotated[
    str | None,
    typer.Option("--login-method", help="The login method; authsvc decides unless given."),
]
Key = Annotated[
    Path | None,
    typer.Option("--key", help="The file of the user's nkey, made (0600) when absent."),
]
Creds = Annotated[
    Path | None, typer.Option("--creds", help="A .creds file, instead of a token; with --server.")
]
Servers = Annotated[
    list[str] | None,
    typer.Option("--server", help="A NATS URL; again for each. authsvc names them otherwise."),
]


@dataclass(frozen=True, slots=True)
class Identity:
    """The options as they were given.

    Args:
        url: Where authsvc is.
        token_file: A file with the identity token; ``-`` is standard input.
        method: The login method.
        key: The file of the nkey.
        creds: A ``.creds`` file.
        servers: NATS URLs.
        prefix: What the environment's variables begin with.
        context: A login that ``authsvc login`` kept.
    """

    url: str | None = None
    token_file: Path | None = None
    method: str | None = None
    key: Path | None = None
    creds: Path | None = None
    servers: list[str] | None = None
    prefix: str = "AUTHSVC_"
    context: str | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of AsyncClient that they mean.

        Raises:
            BadParameter: They don't fit together.
            NotAuthenticated: A file can't be read.
            Unavailable: Where authsvc is says nobody.
        """
        servers = list(self.servers or ())
        if self.creds is not None:
            if self.url or self.token_file or self.key or self.context:
                raise typer.BadParameter("--creds stands alone with --server")
            if not servers:
                raise typer.BadParameter("--creds needs --server, such as nats://127.0.0.1:4222")
            return {"creds": self.creds, "servers": servers}
        common: dict[str, Any] = {"key": self.key, "servers": servers}
        token = None if self.context else self._token()
        if token is not None:
            return common | {"url": self._url(), "token": token, "method": self.method}
        if self.url or self.method:
            raise typer.BadParameter(
                "--url and --login-method go with a token: --token-file F (- for standard input), "
                f"{self.prefix}TOKEN_FILE or {self.prefix}TOKEN"
            )
        login = self._login()
        if login is None:
            return common
        from authsvc.cli.login_source import LoginSource  # noqa: PLC0415 - slow to import

        if self.key is not None:
            raise typer.BadParameter("--key goes with a token; a login has its own")
        return {"source": LoginSource(login, servers)}

    def _login(self) -> str | None:
        """The context whose login is meant; None for SyftBox's configuration."""
        from authsvc.cli.login_profile import Profiles  # noqa: PLC0415

        profiles = Profiles()
        if self.context or os.environ.get("AUTHSVC_CONTEXT"):
            return profiles.chosen(self.context)
        if self.key is not None or any(os.environ.get(name) for name in _SYFTBOX):
            return None
        name = profiles.chosen(None)
        return name if name in profiles.names() else None

    def _token(self) -> str | Callable[[], str] | None:
        path = self.token_file
        if path is None and (text := os.environ.get(f"{self.prefix}TOKEN")):
            return text
        if path is None and (named := os.environ.get(f"{self.prefix}TOKEN_FILE")):
            path = Path(named)
        if path is None:
            return None
        if str(path) == "-":
            return sys.stdin.read().strip()
        text = _read(path)  # told now, and not when a session has run for an hour
        if not path.is_file():
            return text  # a pipe tells it once
        found = path
        return lambda: _read(found)

    def _url(self) -> str:
        if self.url or (url := os.environ.get("AUTHSVC_URL")):
            return self.url or url or ""
        from authsvc.cli.context import find_context  # noqa: PLC0415 - reads what `up` wrote

        return find_context().url


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        raise NotAuthenticated(f"the token file {path} can't be read") from error
