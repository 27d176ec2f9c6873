"""``authsvc grant``: what users may beyond everybody's own list."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.one_user import user_path
from authsvc.cli.pages import Limit, listed
from authsvc.cli.show import print_propagation, print_table, visible
from authsvc.errors import ApiError, Forbidden

__all__ = ["app"]

app = typer.Typer(help="Grants to users and roles: list, create, delete.", no_args_is_help=True)

_ROUTE = "/v1/admin/grants"

User = Annotated[str | None, typer.Option(help="A user's name or id.")]
Role = Annotated[str | None, typer.Option(help="A role, whose members have it.")]


@app.command("list")
def list_grants(
    *,
    data_dir: ContextDir = None,
    user: User = None,
    role: Role = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Grants, newest first; with --user the user's own, not those of roles.

    Example: authsvc grant list --role weather
    """
    with admin_api(data_dir) as api:
        items = listed(api, _ROUTE, limit, as_json=as_json, user=user, role=role)
    if as_json:
        print(json.dumps({"items": items}))
        return
    titles = ("for", "publish", "subscribe", "dangerous", "note", "id")
    rows = [
        (_whose(it), it["publish"], it["subscribe"], it["dangerous"], it["note"], it["id"])
        for it in items
    ]
    print_table(titles, rows)


@app.command()
def create(
    *,
    data_dir: ContextDir = None,
    user: User = None,
    role: Role = None,
    publish: Annotated[
        list[str] | None, typer.Option(help="A subject, wildcards allowed; again for each.")
    ] = None,
    subscribe: Annotated[list[str] | None, typer.Option(help="The same.")] = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    dangerous: Annotated[
        bool, typer.Option("--dangerous", help="It may reach into what belongs to others.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Allow more subjects, from each affected user's next JWT on.

    Quote subjects with * or >, which the shell would take. Exit code 3 where a subject reaches
    into what belongs to others and --dangerous was not given.

    Example: authsvc grant create --user alice@example.com --publish 'weather.>'
    """
    if (user is None) == (role is None):
        raise typer.BadParameter("give --user or --role")
    if not publish and not subscribe:
        raise typer.BadParameter("give --publish or --subscribe")
    body = {
        "username": user,
        "role": role,
        "publish": publish or [],
        "subscribe": subscribe or [],
        "note": note,
        "dangerous": dangerous,
    }
    with admin_api(data_dir) as api:
        if dry_run:
            from authsvc.subjects import validate  # noqa: PLC0415

            for subject in [*(publish or []), *(subscribe or [])]:
                validate(subject)
            if user is not None:
                api.get(user_path(api, user))
            _would("create", body, as_json=as_json)
            return
        try:
            found = api.post(_ROUTE, body)
        except ApiError as error:
            if error.slug != "dangerous-grant":
                raise
            raise Forbidden(f"{error.problem.get('detail')}\nhere: --dangerous") from None
    if as_json:
        print(json.dumps(found))
        return
    print(f"{found['id']} for {_whose(found)}")
    if found.get("propagation"):
        print_propagation(found["propagation"])
    else:
        print("it counts from the next JWT on")


@app.command()
def delete(
    grant: Annotated[str, typer.Argument(help="A grant's id.")],
    *,
    data_dir: ContextDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take a grant away: who had it is cut off and may renew at once.

    Exit code 3 where it is not confirmed.

    Example: authsvc grant delete grt_... --yes
    """
    path = f"{_ROUTE}/{quote(grant, safe='')}"
    with admin_api(data_dir) as api:
        found = api.get(path)
        if dry_run:
            _would("delete", found, as_json=as_json)
            return
        entries = ", ".join([*found["publish"], *found["subscribe"]])
        asked = f"Take {visible(entries)} from {_whose(found)}? Their connections are cut."
        confirm(asked, yes=yes)
        gone = api.delete(path)
    if as_json:
        print(json.dumps(gone))
        return
    print(f"{gone['id']} is gone; {gone['cut']} nkeys have to renew")
    print_propagation(gone["propagation"])


def _whose(found: dict[str, Any]) -> str:
    role = found["role"]
    return visible(str(found["username"] if role is None else f"role {role}"))


def _would(what: str, found: dict[str, Any], *, as_json: bool) -> None:
    """What ``--dry-run`` says."""
    if as_json:
        print(json.dumps({"dry_run": True, "would": what, "grant": found}))
        return
    print(f"would {what} for {_whose(found)}:")
    for action in ("publish", "subscribe"):
        for entry in found[action]:
            print(f"  {action:9}  {visible(entry)}")
