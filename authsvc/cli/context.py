"""How commands find the service: ``context.json``, which ``authsvc up`` writes, or the environment.

In this order: ``--data-dir D``; ``AUTHSVC_URL`` with ``AUTHSVC_API_KEY`` (or ``_FILE``);
``AUTHSVC_DATA_DIR``; the default data directory.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authsvc.errors import StartRefused, Unavailable

if TYPE_CHECKING:
    from authsvc.admin_client import AdminApi

__all__ = ["AsJson", "Context", "ContextDir", "admin_api", "find_context", "moment"]

AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
ContextDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The data directory of `authsvc up`, whose service is meant."),
]


@dataclass(frozen=True, slots=True)
class Context:
    """A service, and the key to administer it."""

    url: str
    api_key: str = field(repr=False)
    nats_url: str | None = None


def find_context(data_dir: Path | None = None) -> Context:
    """The service that is meant.

    Raises:
        StartRefused: What is set can't be used.
        Unavailable: Nothing is set, and no ``authsvc up`` left a context.
    """
    url = os.environ.get("AUTHSVC_URL")
    if data_dir is None and url:
        return Context(url, _api_key())
    if data_dir is None:
        from authsvc.server.data_dir import default_data_dir  # noqa: PLC0415

        given = os.environ.get("AUTHSVC_DATA_DIR")
        data_dir = Path(given) if given else default_data_dir()
    return _read(data_dir.expanduser() / "context.json")


def admin_api(data_dir: Path | None = None) -> AdminApi:
    """A client for the service that is meant; errors as in ``find_context``."""
    # httpx tries to import its own command line, which takes longer than all the rest of it.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from authsvc.admin_client import AdminApi  # noqa: PLC0415 - httpx is slow to import

    context = find_context(data_dir)
    return AdminApi(context.url, context.api_key)


def moment(text: str | None) -> str | None:
    """A time as the API takes it; without an offset it is this machine's."""
    if text is None:
        return None
    from datetime import datetime  # noqa: PLC0415

    try:
        return datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time, such as 2026-01-31T12:00:00Z") from None


def _api_key() -> str:
    key, path = os.environ.get("AUTHSVC_API_KEY"), os.environ.get("AUTHSVC_API_KEY_FILE")
    if bool(key) == bool(path):
        raise StartRefused("AUTHSVC_URL needs AUTHSVC_API_KEY or AUTHSVC_API_KEY_FILE beside it")
    if key:
        return key
    try:
        return Path(str(path)).read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        raise StartRefused(f"AUTHSVC_API_KEY_FILE: {path} can't be read") from None


def _read(path: Path) -> Context:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Context(str(found["url"]), str(found["api_key"]), found.get("nats_url"))
    except FileNotFoundError:
        raise Unavailable(
            f"there is no {path}: start `authsvc up`, name its data directory with --data-dir, or "
            "set AUTHSVC_URL and AUTHSVC_API_KEY"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no context of authsvc's"
        raise StartRefused(f"{path} can't be used: {why}; `authsvc up` writes it anew") from None
