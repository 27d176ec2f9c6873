"""Lists in pages: how much of one is shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from authsvc.admin_client import AdminApi

__all__ = ["Limit", "listed"]

_SHOWN = 1000

Limit = Annotated[
    int | None,
    typer.Option(min=1, help=f"How many at most; {_SHOWN} unless given, all with --json."),
]


def listed(
    api: AdminApi, path: str, limit: int | None, *, as_json: bool, **params: object
) -> list[Any]:
    """The items of a list; for eyes no more than they read, and a word if there are more."""
    if limit is not None or as_json:
        return list(api.pages(path, limit=limit, **params))
    items = list(api.pages(path, limit=_SHOWN + 1, **params))
    if len(items) > _SHOWN:
        print(f"the first {_SHOWN}; there are more: --limit", file=sys.stderr)
    return items[:_SHOWN]
