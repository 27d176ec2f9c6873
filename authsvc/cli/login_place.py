"""Which authsvc and which SyftBox server a login is meant for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authsvc.cli.login_profile import Profile
from authsvc.errors import AuthsvcError, InvalidInput, NotAuthenticated

__all__ = ["find_authsvc", "find_syftbox"]

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def find_authsvc(
    url: str | None, data_dir: Path | None, syftbox: str | None, before: Profile | None
) -> str:
    """Where authsvc is.

    The first that is there: what was said, AUTHSVC_URL, SYFTBOX_AUTHSVC_URL, the login there was
    before, what ``authsvc up`` left on this machine, the SyftBox server's host.

    Args:
        url: What was said.
        data_dir: Another way to say it.
        syftbox: The SyftBox server, if that was said.
        before: The login there was.

    Raises:
        InvalidInput: Nothing says where.
    """
    variables = ("AUTHSVC_URL", "SYFTBOX_AUTHSVC_URL") if data_dir is None else ()
    found = next(filter(None, (url, *map(os.environ.get, variables))), None)
    if found is None and before is not None and data_dir is None:
        found = before.url
    if found is None:
        found = _of_data_dir(data_dir) or _beside(syftbox)
    if found is None:
        raise InvalidInput(
            "where is authsvc? Say --url https://auth.example.com, or set AUTHSVC_URL"
        )
    return found.rstrip("/")


def find_syftbox(
    url: str | None, before: Profile | None, methods: list[dict[str, Any]]
) -> str | None:
    """Where the SyftBox server is; None where nothing says so.

    The first that is there: what was said, SYFTBOX_SERVER_URL, the login there was before, what
    authsvc says, SyftBox's own configuration.
    """
    found = url or os.environ.get("SYFTBOX_SERVER_URL")
    if not found and before is not None:
        found = before.syftbox_url
    if not found:
        told = (it.get("url") for it in methods if it.get("name") == "syftbox")
        found = next((it for it in told if isinstance(it, str)), None)
    return found or _configured()


def _of_data_dir(data_dir: Path | None) -> str | None:
    from authsvc.cli.context import find_context  # noqa: PLC0415

    if data_dir is not None:
        return find_context(data_dir).url
    try:
        return find_context().url
    except AuthsvcError:
        return None


def _beside(syftbox: str | None) -> str | None:
    """The service that goes with a SyftBox server, as the library assumes too."""
    server = syftbox or os.environ.get("SYFTBOX_SERVER_URL") or _configured()
    if not server:
        return None
    return "http://127.0.0.1:8080" if urlsplit(server).hostname in _LOOPBACK else server


def _configured() -> str | None:
    from authsvc.rpc.syftbox import load_config  # noqa: PLC0415 - slow to import

    try:
        return load_config().server_url
    except NotAuthenticated:
        return None
