"""``authsvc user``: who there is; create, disable, enable, delete, import."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson, ContextDir, admin_api
from authsvc.cli.one_user import USERS, Name, as_seen, print_changed, print_would, user_path
from authsvc.cli.pages import Limit, listed
from authsvc.cli.show import counted, print_members, print_table, visible
from authsvc.cli.user_import import import_users
from authsvc.errors import ApiError

if TYPE_CHECKING:
    from authsvc.admin_client import AdminApi

__all__ = ["app"]

app = typer.Typer(
    help="Users: list, create, disable, enable, delete, import.", no_args_is_help=True
)
app.command("import")(import_users)

_COLUMNS = ("username", "state", "kind", "roles", "last_login_at", "id")


class State(StrEnum):
    """What a user can be."""

    ACTIVE = "active"
    DISABLED = "disabled"


@app.command("list")
def list_users(
    search: Annotated[
        str | None, typer.Argument(help="How names begin, or else what they contain.")
    ] = None,
    *,
    data_dir: ContextDir = None,
    role: Annotated[str | None, typer.Option(help="Only those who have it.")] = None,
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> None:
    """Users by name.

    Example: authsvc user list ali --state active
    """
    wanted = {"search": search, "role": role, "state": state.value if state else None}
    with admin_api(data_dir) as api:
        items = listed(api, USERS, limit, as_json=as_json, **wanted)
    if as_json:
        print(json.dumps({"items": items}))
    else:
        titles = [name.replace("_", " ") for name in _COLUMNS]
        print_table(titles, [[item[name] for name in _COLUMNS] for item in items])


@app.command()
def show(name: Name, *, data_dir: ContextDir = None, as_json: AsJson = False) -> None:
    """One user, with how much belongs to them.

    Example: authsvc user show alice@example.com
    """
    with admin_api(data_dir) as api:
        found = api.get(user_path(api, name))
    if as_json:
        print(json.dumps(found))
    else:
        counts = found.pop("counts")
        print_members(found | counts)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="An e-mail, or with --service any name.")],
    *,
    data_dir: ContextDir = None,
    service: Annotated[bool, typer.Option("--service", help="A service account.")] = False,
    role: Annotated[list[str] | None, typer.Option(help="A role; again for each.")] = None,
    max_subscriptions: Annotated[
        int | None, typer.Option(min=1, help="Of one connection; the service's default if none.")
    ] = None,
    max_payload: Annotated[
        int | None, typer.Option(min=1024, help="Bytes of one message; the default if none.")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Create a user before their first login, or a service account.

    Example: authsvc user create weather-bot --service --role weather
    """
    body = {
        "username": name,
        "kind": "service" if service else "email",
        "roles": role or [],
        "max_subscriptions": max_subscriptions,
        "max_payload": max_payload,
    }
    with admin_api(data_dir) as api:
        if dry_run:
            _check_free(api, name, service=service)
            print_would("create", body, as_json=as_json)
            return
        found = api.post(USERS, body)
    if as_json:
        print(json.dumps(found))
    else:
        print(f"{visible(found['username'])} is there: {found['id']}")


@app.command()
def change(
    name: Name,
    *,
    data_dir: ContextDir = None,
    add_role: Annotated[list[str] | None, typer.Option(help="A role; again for each.")] = None,
    remove_role: Annotated[list[str] | None, typer.Option(help="The same.")] = None,
    max_subscriptions: Annotated[
        int | None, typer.Option(min=0, help="Of one connection; 0: the service's default.")
    ] = None,
    max_payload: Annotated[
        int | None, typer.Option(min=0, help="Bytes of one message; 0: the default.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Change a user's roles and limits.

    A lower limit, or losing a role that brought a grant, cuts the user's connections; they may
    renew at once. Exit code 3 where that is not confirmed.

    Example: authsvc user change alice@example.com --add-role weather --max-subscriptions 200
    """
    with admin_api(data_dir) as api:
        found = api.get(user_path(api, name))
        body = _changes(found, add_role or [], remove_role or [], max_subscriptions, max_payload)
        if not body:
            raise typer.BadParameter("say what is to be another; --help names it")
        if dry_run:
            print_would("change", found | body, as_json=as_json)
            return
        if remove_role or max_subscriptions is not None or max_payload is not None:
            live = counted(found["counts"]["active_credentials"], "credential")
            asked = f"Change {visible(found['username'])}? {live} may have to renew."
            confirm(asked, yes=yes)
        changed = api.patch(f"{USERS}/{found['id']}", body, headers=as_seen(found))
    print_changed(
        changed, f"{visible(changed['username'])} has version {changed['version']}", as_json=as_json
    )


def _changes(
    found: dict[str, Any],
    add: list[str],
    remove: list[str],
    max_subscriptions: int | None,
    max_payload: int | None,
) -> dict[str, Any]:
    """The body of PATCH; 0 is the default again."""
    body: dict[str, Any] = {}
    if add or remove:
        body["roles"] = [role for role in [*found["roles"], *add] if role not in remove]
    if max_subscriptions is not None:
        body["max_subscriptions"] = max_subscriptions or None
    if max_payload is not None:
        body["max_payload"] = max_payload or None
    return body


@app.command()
def disable(
    name: Name,
    *,
    data_dir: ContextDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End every JWT of a user and let them in no more, until they are enabled again.

    Exit code 3 where it is not confirmed.

    Example: authsvc user disable alice@example.com --yes
    """
    with admin_api(data_dir) as api:
        found = api.get(user_path(api, name))
        if dry_run:
            print_would("disable", found, as_json=as_json)
            return
        live = counted(found["counts"]["active_credentials"], "credential")
        confirm(f"Disable {visible(found['username'])}? It ends {live}.", yes=yes)
        changed = api.post(f"{USERS}/{found['id']}/disable", headers=as_seen(found))
    print_changed(changed, f"{visible(changed['username'])} is disabled", as_json=as_json)


@app.command()
def enable(
    name: Name, *, data_dir: ContextDir = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Let a disabled user in again, by the same nkeys.

    Example: authsvc user enable alice@example.com
    """
    with admin_api(data_dir) as api:
        path = user_path(api, name)
        if dry_run:
            print_would("enable", api.get(path), as_json=as_json)
            return
        changed = api.post(f"{path}/enable")
    print_changed(changed, f"{visible(changed['username'])} is enabled", as_json=as_json)


@app.command()
def delete(
    name: Name,
    *,
    data_dir: ContextDir = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete a user with credentials, grants and apps; their nkeys are dead for ever.

    The name is free again, and its holder may log in with a new nkey. To keep somebody out,
    disable them. Exit code 3 where it is not confirmed.

    Example: authsvc user delete alice@example.com --yes
    """
    with admin_api(data_dir) as api:
        found = api.get(user_path(api, name))
        if dry_run:
            print_would("delete", found, as_json=as_json)
            return
        counts = found["counts"]
        with_it = " and ".join(
            (counted(counts["credentials"], "credential"), counted(counts["grants"], "grant"))
        )
        confirm(f"Delete {visible(found['username'])} with {with_it} for ever?", yes=yes)
        gone = api.delete(f"{USERS}/{found['id']}", headers=as_seen(found))
    print_changed(gone, f"{visible(gone['username'])} is gone", as_json=as_json)


def _check_free(api: AdminApi, name: str, *, service: bool) -> None:
    """Whether the name could be a user's, and is nobody's yet.

    Raises:
        InvalidName: It could not.
        ApiError: It is taken.
    """
    from authsvc.subjects import username  # noqa: PLC0415

    username(name, email=not service)
    try:
        api.get(user_path(api, name))
    except ApiError as error:
        if error.slug == "not-found" or not error.problem.get("type"):
            return
        raise
    raise ApiError(409, {"detail": f"there is a user {name} already"})
