"""``authsvc device``: terminals that ask to be let in, by the code that they show."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.show import print_members, visible

__all__ = ["app"]

app = typer.Typer(
    help="Terminals that ask to be let in: show, approve, deny.", no_args_is_help=True
)

Code = Annotated[str, typer.Argument(help="The code that the terminal shows.")]


def _route(code: str) -> str:
    return f"/v1/admin/device/{quote(code, safe='')}"


def _told(found: dict[str, Any]) -> str:
    name = f" that calls itself {visible(found['client'])!r}" if found["client"] else ""
    return f"the terminal{name} at {found['address']} with the key {found['public_key']}"


@app.command()
def show(code: Code, *, data_dir: ContextDir = None, as_json: AsJson = False) -> None:
    """What asks.

    Example: authsvc device show BCDF-GHJK
    """
    with admin_api(data_dir) as api:
        found = api.get(_route(code))
    if as_json:
        print(json.dumps(found))
    else:
        print_members(found)


@app.command()
def approve(
    code: Code,
    *,
    data_dir: ContextDir = None,
    username: Annotated[str, typer.Option(help="As whom: it is that user from then on.")],
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let a terminal in as a user. Exit code 3 where it is not confirmed.

    Example: authsvc device approve BCDF-GHJK --username alice@example.com
    """
    with admin_api(data_dir) as api:
        found = api.get(_route(code))
        who = f"{_told(found)} as {visible(username)}"
        if dry_run:
            would = {"dry_run": True, "would": "approve", "device": found, "username": username}
            print(json.dumps(would) if as_json else f"would let in {who}")
            return
        confirm(f"Let in {who}?", yes=yes)
        found = api.post(f"{_route(code)}/approve", {"username": username})
    print(json.dumps(found) if as_json else f"{found['username']} is let in")


@app.command()
def deny(
    code: Code, *, data_dir: ContextDir = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Refuse a terminal.

    Example: authsvc device deny BCDF-GHJK
    """
    with admin_api(data_dir) as api:
        found = api.get(_route(code))
        if dry_run:
            would = {"dry_run": True, "would": "deny", "device": found}
            print(json.dumps(would) if as_json else f"would refuse {_told(found)}")
            return
        found = api.post(f"{_route(code)}/deny")
    print(json.dumps(found) if as_json else "it is refused")
