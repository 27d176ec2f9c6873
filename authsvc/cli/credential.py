"""``authsvc credential``: list, issue, revoke."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api, moment
from authsvc.cli.once import Output, place_for
from authsvc.cli.one_user import Name, user_path
from authsvc.cli.pages import Limit, listed
from authsvc.cli.show import counted, print_propagation, print_table, visible

__all__ = ["app"]

app = typer.Typer(help="Credentials of users: list, issue, revoke.", no_args_is_help=True)

_ROUTE = "/v1/admin/credentials"
_COLUMNS = ("username", "state", "name", "app", "method", "expires_at", "last_used_at", "id")
_SECRETS = ("seed", "creds")


class State(StrEnum):
    """What a credential can be."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@app.command("list")
def list_credentials(
    user: Annotated[str | None, typer.Argument(help="Only this user's.")] = None,
    *,
    data_dir: ContextDir = None,
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Credentials, newest first.

    Example: authsvc credential list alice@example.com --state active
    """
    wanted = {"user": user, "state": state.value if state else None}
    with admin_api(data_dir) as api:
        items = listed(api, _ROUTE, limit, as_json=as_json, **wanted)
    if as_json:
        print(json.dumps({"items": items}))
    else:
        _print(items)


@app.command()
def issue(
    user: Name,
    *,
    data_dir: ContextDir = None,
    public_key: Annotated[
        str | None, typer.Option(help="The holder's nkey, U...; the service makes one if none.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What it is called.")] = None,
    ttl: Annotated[int | None, typer.Option(min=1, help="A shorter life, in seconds.")] = None,
    app_name: Annotated[str | None, typer.Option("--app", help="Narrow it to one app.")] = None,
    output: Output = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Issue a credential, and print its .creds text, or with --public-key its JWT.

    The private key in the .creds text is shown this once and kept nowhere. Prefer a key that its
    holder made.

    Example: authsvc credential issue weather-bot --output weather-bot.creds
    """
    given = {"public_key": public_key, "name": name, "ttl": ttl, "app": app_name}
    body = {member: value for member, value in given.items() if value is not None}
    with admin_api(data_dir) as api:
        path = user_path(api, user)
        if dry_run:
            found = api.get(path)
            _would("issue", {"user": found["username"], **body}, as_json=as_json)
            return
        with place_for(output) as write:
            made = api.post(f"{path}/credentials", body)
            text = made["creds"] if public_key is None else made["jwt"] + "\n"
            if output is not None or not as_json:
                write(text)
    if as_json:
        kept = {it: value for it, value in made.items() if output is None or it not in _SECRETS}
        print(json.dumps(kept | ({"output": str(output)} if output else {})))
    else:
        told = f"{made['id']} of {visible(made['username'])} expires at {made['expires_at']}"
        print(f"{told}; it is in {output}" if output else told, file=sys.stderr)


@app.command()
def revoke(
    credential: Annotated[str | None, typer.Argument(help="A credential's id.")] = None,
    *,
    data_dir: ContextDir = None,
    user: Annotated[str | None, typer.Option(help="All of this user's instead.")] = None,
    before: Annotated[
        str | None, typer.Option(help="With --user: only those first issued before then.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End an nkey for ever with every JWT it has, or all nkeys of a user.

    The user may log in with a new nkey; `authsvc user disable` keeps them out. Exit code 3 where
    it is not confirmed.

    Example: authsvc credential revoke --user alice@example.com --before 2026-01-31T12:00:00Z
    """
    if (credential is None) == (user is None):
        raise typer.BadParameter("name a credential's id, or a user with --user")
    if before is not None and user is None:
        raise typer.BadParameter("--before belongs to --user")
    if credential is not None:
        _revoke_one(data_dir, credential, yes=yes, dry_run=dry_run, as_json=as_json)
    else:
        _revoke_all(data_dir, str(user), moment(before), yes=yes, dry_run=dry_run, as_json=as_json)


def _revoke_one(
    data_dir: ContextDir, credential: str, *, yes: bool, dry_run: bool, as_json: bool
) -> None:
    path = f"{_ROUTE}/{quote(credential, safe='')}"
    with admin_api(data_dir) as api:
        found = api.get(path)
        if dry_run:
            _would("revoke", found, as_json=as_json)
            return
        whose = f"{found['id']} of {visible(found['username'])}, which is {found['state']}"
        confirm(f"Revoke {whose}? Its nkey is dead for ever.", yes=yes)
        gone = api.post(f"{path}/revoke")
    _say(gone, f"{gone['id']} is revoked", as_json=as_json)


def _revoke_all(
    data_dir: ContextDir,
    user: str,
    before: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    with admin_api(data_dir) as api:
        path = user_path(api, user)
        found = api.get(path)
        until = {"issued_before": before} if before else {}
        if dry_run:
            _would("revoke all of", found | until, as_json=as_json)
            return
        live = counted(found["counts"]["active_credentials"], "live credential")
        when = f" issued before {before}" if before else ""
        asked = f"Revoke all credentials of {visible(found['username'])}{when}? It ends {live}."
        confirm(asked, yes=yes)
        gone = api.post(f"{path}/credentials:revoke", until)
    verb = "is" if gone["revoked"] == 1 else "are"
    _say(gone, f"{counted(gone['revoked'], 'credential')} {verb} revoked", as_json=as_json)


def _print(items: list[dict[str, Any]]) -> None:
    titles = [name.replace("_", " ") for name in _COLUMNS]
    print_table(titles, [[item[name] for name in _COLUMNS] for item in items])


def _would(what: str, found: dict[str, Any], *, as_json: bool) -> None:
    """What ``--dry-run`` says."""
    if as_json:
        print(json.dumps({"dry_run": True, "would": what, "about": found}))
    else:
        whose = found.get("username", found.get("user"))
        about = f"{found['id']} of {whose}, {found['state']}" if "method" in found else str(whose)
        print(f"would {what} {visible(about)}")


def _say(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    print(text)
    print_propagation(found["propagation"])
