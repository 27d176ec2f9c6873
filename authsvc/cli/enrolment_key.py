"""``authsvc enrolment-key``: keys by which machines log in the first time."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api, moment
from authsvc.cli.once import Output, place_for, print_key
from authsvc.cli.pages import Limit, listed
from authsvc.cli.show import print_table, visible
from authsvc.errors import ApiError

__all__ = ["app"]

app = typer.Typer(
    help="Keys by which machines log in the first time: list, create, revoke.",
    no_args_is_help=True,
)

_ROUTE = "/v1/admin/enrolment-keys"


@app.command("list")
def list_keys(
    *,
    data_dir: ContextDir = None,
    tag: Annotated[str | None, typer.Option(help="Only keys that have it.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """All enrolment keys, newest first.

    Example: authsvc enrolment-key list --tag roof
    """
    with admin_api(data_dir) as api:
        items = listed(api, _ROUTE, limit, as_json=as_json, tag=tag)
    if as_json:
        print(json.dumps({"items": items}))
        return
    titles = ["for", "prefix", "state", "uses", "tags", "expires at", "name", "id"]
    print_table(titles, [_row(item) for item in items])


def _row(item: dict[str, Any]) -> list[object]:
    return [
        item["username"] or item["pattern"],
        item["prefix"],
        item["state"],
        f"{item['uses']} of {item['max_uses'] or 'any'}",
        item["tags"],
        item["expires_at"],
        item["name"],
        item["id"],
    ]


@app.command()
def create(
    username: Annotated[
        str | None, typer.Argument(help="The user it is for: a service, or an e-mail.")
    ] = None,
    *,
    data_dir: ContextDir = None,
    pattern: Annotated[
        str | None, typer.Option(help="Those it is for, such as 'sensor-*'; * fits no @.")
    ] = None,
    what_for: Annotated[str, typer.Option("--for", help="What it is for, for eyes.")] = "",
    uses: Annotated[int, typer.Option(min=1, help="How many machines may enrol.")] = 1,
    unlimited: Annotated[bool, typer.Option(help="Any number of machines may.")] = False,
    expires: Annotated[
        str | None,
        typer.Option(help="Until when they may: 2027-01-31, or 2027-01-31T12:00:00Z."),
    ] = None,
    expires_in: Annotated[int | None, typer.Option(min=1, help="The same in seconds.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A word to find it by; again for more.")] = (
        None
    ),
    existing: Annotated[
        bool | None, typer.Option(help="Also for users who are there already.")
    ] = None,
    output: Output = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make an enrolment key and print its text, which is shown this once.

    Example: authsvc enrolment-key create sensor-7 --expires-in 3600 --output sensor-7.key
    """
    if (username is None) == (pattern is None):
        raise typer.BadParameter("name one user, or give --pattern")
    body = {
        "name": what_for,
        "username": username,
        "pattern": pattern,
        "existing": existing,
        "tags": tag or [],
        "max_uses": None if unlimited else uses,
        "expires_at": moment(expires),
        "expires_in": expires_in,
    }
    if dry_run:
        if as_json:
            print(json.dumps({"dry_run": True, "would": "create", "enrolment_key": body}))
        else:
            print(f"would create an enrolment key for {visible(username or pattern or '')}")
        return
    with admin_api(data_dir) as api, place_for(output) as write:
        made = api.post(_ROUTE, body)
        if output is not None or not as_json:
            write(made["key"] + "\n")
    print_key(made, output, as_json=as_json)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="An enrolment key's id.")],
    *,
    data_dir: ContextDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End an enrolment key, also for the machines that log in by it.

    What they have goes on until their session ends. Exit code 3 where it is not confirmed.

    Example: authsvc enrolment-key revoke enk_... --yes
    """
    with admin_api(data_dir) as api:
        found = next((it for it in api.pages(_ROUTE) if it["id"] == key), None)
        if found is None:
            raise ApiError(404, {"detail": "there is no such enrolment key"})
        who = visible(found["username"] or found["pattern"])
        which = f"the enrolment key for {who} ({found['prefix']}...)"
        if dry_run:
            if as_json:
                print(json.dumps({"dry_run": True, "would": "revoke", "enrolment_key": found}))
            else:
                print(f"would revoke {which}, which is {found['state']}")
            return
        confirm(f"Revoke {which}? {found['uses']} machines came by it.", yes=yes)
        gone = api.delete(f"{_ROUTE}/{quote(key, safe='')}")
    print(json.dumps(gone) if as_json else f"{gone['id']} is revoked")
