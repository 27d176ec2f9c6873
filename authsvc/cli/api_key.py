"""``authsvc api-key``: who may administer."""

from __future__ import annotations

import json
from typing import Annotated
from urllib.parse import quote

import typer

from authsvc.cli import loop
from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api, moment
from authsvc.cli.once import Output, place_for, print_key
from authsvc.cli.pages import Limit, listed
from authsvc.cli.show import print_table, visible
from authsvc.errors import ApiError

__all__ = ["app"]

app = typer.Typer(help="API keys of administrators: list, create, revoke.", no_args_is_help=True)

_ROUTE = "/v1/admin/api-keys"
_COLUMNS = ("name", "prefix", "state", "scopes", "expires_at", "last_used_at", "id")


@app.command("list")
def list_keys(*, data_dir: ContextDir = None, limit: Limit = None, as_json: AsJson = False) -> None:
    """All API keys, newest first.

    Example: authsvc api-key list
    """
    with admin_api(data_dir) as api:
        items = listed(api, _ROUTE, limit, as_json=as_json)
    if as_json:
        print(json.dumps({"items": items}))
    else:
        titles = [name.replace("_", " ") for name in _COLUMNS]
        print_table(titles, [[item[name] for name in _COLUMNS] for item in items])


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    data_dir: ContextDir = None,
    scope: Annotated[list[str], typer.Option(help="Such as users:read; again for each.")],
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 2027-01-31, or 2027-01-31T12:00:00Z.")
    ] = None,
    output: Output = None,
    in_database: Annotated[
        bool,
        typer.Option(
            "--in-database",
            help="By the database itself, with the service's settings: the first key of all.",
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print its text, which is shown this once.

    Where `authsvc serve` runs, nobody has a key yet: make the first one with --in-database on the
    service's machine, or in its container.

    Example: authsvc api-key create ci --scope users:read --scope audit:read --output ci.key
    """
    expires_at = moment(expires)
    body = {"name": name, "scopes": scope, "expires_at": expires_at}
    if dry_run:
        if as_json:
            print(json.dumps({"dry_run": True, "would": "create", "api_key": body}))
        else:
            print(f"would create the API key {visible(name)} with {visible(', '.join(scope))}")
        return
    with place_for(output) as write:
        if in_database:
            from authsvc.cli import first_key  # noqa: PLC0415 - imports the whole service

            made = loop.run(first_key.make(data_dir, name, scope, expires_at))
        else:
            with admin_api(data_dir) as api:
                made = api.post(_ROUTE, body)
        if output is not None or not as_json:
            write(made["key"] + "\n")
    print_key(made, output, as_json=as_json)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="An API key's id.")],
    *,
    data_dir: ContextDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End an API key; whatever uses it is refused from now on.

    Exit code 3 where it is not confirmed.

    Example: authsvc api-key revoke key_... --yes
    """
    with admin_api(data_dir) as api:
        found = next((it for it in api.pages(_ROUTE) if it["id"] == key), None)
        if found is None:
            raise ApiError(404, {"detail": "there is no such API key"})
        which = f"the API key {visible(found['name'])} ({found['prefix']}...)"
        if dry_run:
            if as_json:
                print(json.dumps({"dry_run": True, "would": "revoke", "api_key": found}))
            else:
                print(f"would revoke {which}, which is {found['state']}")
            return
        used = found["last_used_at"]
        when = f"It was last used at {used}." if used else "It was never used."
        confirm(f"Revoke {which}? {when}", yes=yes)
        gone = api.delete(f"{_ROUTE}/{quote(key, safe='')}")
    print(json.dumps(gone) if as_json else f"{gone['id']} is revoked")
