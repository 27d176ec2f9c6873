"""``authsvc app``: the apps that a user offers, and the requests that wait for them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli.asking import DryRun, Yes, confirm
from authsvc.cli.context import AsJson
from authsvc.cli.pages import Limit
from authsvc.cli.person import with_person
from authsvc.cli.rpc_credentials import ContextName, Identity, Key, Method, TokenFile, Url
from authsvc.cli.show import print_propagation, print_table, visible

if TYPE_CHECKING:
    from authsvc.client import Api

__all__ = ["app"]

app = typer.Typer(
    help="Apps of who is logged in: list, register, remove; dead letters.", no_args_is_help=True
)

_PAGE = 500
_APP_COLUMNS = ("name", "offline", "created_at", "id")
_LETTER_COLUMNS = ("id", "requester", "reason", "deliveries", "died_at")

Name = Annotated[str, typer.Argument(help="The app's name.")]


def _identity(
    url: str | None, token_file: Path | None, method: str | None, key: Path | None,
    context: str | None,
) -> Identity:  # fmt: skip
    return Identity(url, token_file, method, key, context=context)


@app.command("list")
def list_apps(
    user: Annotated[
        str | None, typer.Argument(help="Another user, by name or id: what they offer.")
    ] = None,
    *,
    limit: Limit = None,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    context: ContextName = None,
    as_json: AsJson = False,
) -> None:
    """Apps that are registered, one's own or another user's.

    Example: authsvc app list bob@example.com
    """
    identity = _identity(url, token_file, login_method, key, context)

    async def page(api: Api, jwt: str, cursor: str) -> dict[str, Any]:
        if user is None:
            return await api.apps(jwt, limit=_PAGE, cursor=cursor)
        return await api.apps_of(jwt, user, limit=_PAGE, cursor=cursor)

    _print(_all(identity, page, limit), _APP_COLUMNS, as_json=as_json)


@app.command()
def register(
    name: Name,
    *,
    offline: Annotated[
        bool, typer.Option("--offline/--live", help="Whether requests wait while it is away.")
    ] = True,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    context: ContextName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Register an app, or change whether requests wait for it.

    Example: authsvc app register pingpong --offline
    """
    if dry_run:
        how = "with" if offline else "without"
        _would("register", name, f"{how} requests that wait", as_json=as_json)
        return
    identity = _identity(url, token_file, login_method, key, context)
    found = with_person(identity, lambda api, jwt: api.set_app(jwt, name, offline=offline))
    waits = "requests wait for it" if found["offline"] else "it is called live only"
    _changed(found, f"{visible(found['name'])} is registered: {waits}", as_json=as_json)


@app.command()
def remove(
    name: Name,
    *,
    yes: Yes = False,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    context: ContextName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Forget an app, with the requests that wait for it. Exit code 3 where it is not confirmed.

    Example: authsvc app remove pingpong --yes
    """
    if dry_run:
        _would("remove", name, "with the requests that wait for it", as_json=as_json)
        return
    identity = _identity(url, token_file, login_method, key, context)
    confirm(f"Remove the app {visible(name)}? Requests that wait for it are lost.", yes=yes)
    found = with_person(identity, lambda api, jwt: api.delete_app(jwt, name))
    _changed(found, f"{visible(found['name'])} is gone", as_json=as_json)


@app.command("dead-letters")
def dead_letters(
    name: Name,
    *,
    limit: Limit = None,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    context: ContextName = None,
    as_json: AsJson = False,
) -> None:
    """Requests that an app could not handle, the newest first.

    Example: authsvc app dead-letters pingpong
    """
    identity = _identity(url, token_file, login_method, key, context)

    async def page(api: Api, jwt: str, cursor: str) -> dict[str, Any]:
        return await api.dead_letters(jwt, name, limit=_PAGE, cursor=cursor)

    _print(_all(identity, page, limit), _LETTER_COLUMNS, as_json=as_json)


@app.command()
def requeue(
    name: Name,
    letter: Annotated[str, typer.Argument(help="A dead letter's id.")],
    *,
    url: Url = None,
    token_file: TokenFile = None,
    login_method: Method = None,
    key: Key = None,
    context: ContextName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let a dead letter be handled once more.

    Example: authsvc app requeue pingpong dlt_...
    """
    if dry_run:
        _would("requeue", letter, f"for {visible(name)}", as_json=as_json)
        return
    identity = _identity(url, token_file, login_method, key, context)
    found = with_person(identity, lambda api, jwt: api.requeue(jwt, name, letter))
    print(json.dumps(found) if as_json else f"{visible(letter)} waits again")


def _all(
    identity: Identity,
    page: Callable[[Api, str, str], Awaitable[dict[str, Any]]],
    limit: int | None,
) -> list[dict[str, Any]]:
    async def pages(api: Api, jwt: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None and (limit is None or len(items) < limit):
            found = await page(api, jwt, cursor)
            items += found["items"]
            cursor = found["next_cursor"]
        return items[:limit]

    return with_person(identity, pages)


def _print(items: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"items": items}))
        return
    titles = [column.replace("_", " ") for column in columns]
    print_table(titles, [[item.get(column) for column in columns] for item in items])


def _would(what: str, name: str, how: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"dry_run": True, "would": what, "about": name}))
    else:
        print(f"would {what} {visible(name)} {how}")


def _changed(found: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    print(text)
    print_propagation(found["propagation"])
