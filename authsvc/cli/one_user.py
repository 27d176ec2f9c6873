"""The one user that a command is about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from authsvc.cli.show import counted, print_propagation, visible
from authsvc.errors import ApiError

if TYPE_CHECKING:
    from authsvc.admin_client import AdminApi

__all__ = ["USERS", "Name", "as_seen", "print_changed", "print_would", "user_path"]

USERS = "/v1/admin/users"

Name = Annotated[str, typer.Argument(help="A username, or a user's id.")]


def user_path(api: AdminApi, name: str) -> str:
    """The route of a user; one whose name a path can't carry is looked up.

    Raises:
        ApiError: There is no such user.
    """
    if "/" in name or name.strip(" ") in {".", ".."}:
        wanted = name.strip(" ").lower()
        found = (it["id"] for it in api.pages(USERS, search=wanted) if it["username"] == wanted)
        user_id = next(found, None)
        if user_id is None:
            raise ApiError(404, {"detail": "there is no such user"})
        name = user_id
    return f"{USERS}/{quote(name, safe='@')}"


def as_seen(found: dict[str, Any]) -> dict[str, str]:
    """What was confirmed is what is changed."""
    return {"If-Match": f'"{found["version"]}"'}


def print_would(what: str, found: dict[str, Any], *, as_json: bool) -> None:
    """What ``--dry-run`` says."""
    if as_json:
        print(json.dumps({"dry_run": True, "would": what, "user": found}))
        return
    counts = found.get("counts")
    ends = ""
    if counts:
        ends = f", which has {counted(counts['active_credentials'], 'live credential')}"
    print(f"would {what} {visible(found['username'])}{ends}")


def print_changed(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    """What was done, and how far it has come."""
    if as_json:
        print(json.dumps(found))
        return
    print(text)
    print_propagation(found["propagation"])
