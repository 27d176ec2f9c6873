"""``authsvc whoami`` and ``authsvc logout``; which logins there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from authsvc.cli import loop
from authsvc.cli.asking import DryRun
from authsvc.cli.context import AsJson
from authsvc.cli.login import ContextName
from authsvc.cli.login_profile import Profile, Profiles
from authsvc.cli.login_secrets import place_named
from authsvc.cli.show import print_members, print_table, visible
from authsvc.errors import ApiError, AuthsvcError, NotAuthenticated, NotFound, Unavailable

__all__ = ["app", "described", "logout", "whoami"]

app = typer.Typer(help="Logins on this machine: list them, choose one.", no_args_is_help=True)

_GONE = (401, 404)


def whoami(
    *,
    context: ContextName = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody: what is kept, renewed or not.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Who is logged in: username, credential, when it ends, and where.

    Asks the service, which renews what is due. Exit code 3 where nobody is logged in, or the login
    has ended.

    Example: authsvc whoami --json
    """
    name = Profiles().chosen(context)
    if offline:
        from authsvc.cli.login_session import nobody  # noqa: PLC0415

        found = Profiles().find(name)
        if found is None:
            raise nobody(name)
        told = described(found)
    else:
        told = loop.run(_asked(name))
    if as_json:
        print(json.dumps(told))
    else:
        print_members(told)


def logout(
    *,
    context: ContextName = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Only forget it here; the credential lives on to its end."),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Revoke the login's credential, with every JWT it has, and forget it here.

    Where the service can't be reached nothing is forgotten (exit code 4); --forget does without.

    Example: authsvc logout
    """
    from authsvc.cli.login_session import nobody  # noqa: PLC0415

    profiles = Profiles()
    name = profiles.chosen(context)
    found = profiles.find(name)
    if found is None:
        raise nobody(name)
    told = {"username": found.username, "context": name, "credential": found.credential}
    if dry_run:
        deed = "forget" if forget else "revoke and forget"
        print(
            json.dumps({"dry_run": True, "would": deed, "about": told})
            if as_json
            else f"would {deed} {found.credential} of {visible(found.username)}"
        )
        return
    revoked = not forget and loop.run(_revoked(name))
    place_named(found.kept_in, profiles.folder).remove(name)
    profiles.remove(name)
    if as_json:
        print(json.dumps(told | {"revoked": revoked}))
    else:
        kept = "lives on to its end" if forget else "held no longer"
        ended = "is revoked" if revoked else kept
        print(f"{visible(found.username)} is logged out; the credential {ended}")


@app.command("list")
def list_contexts(*, as_json: AsJson = False) -> None:
    """All logins on this machine.

    Example: authsvc context list
    """
    profiles = Profiles()
    current = profiles.chosen(None)
    items: list[dict[str, Any]] = []
    for name in profiles.names():
        try:
            found = profiles.find(name)
        except NotAuthenticated:
            found = None
        items.append(described(found) if found else {"context": name})
        items[-1]["current"] = name == current
    if as_json:
        print(json.dumps({"items": items}))
        return
    columns = ("context", "current", "username", "url", "expires_at", "kept_in")
    titles = [column.replace("_", " ") for column in columns]
    print_table(titles, [[item.get(column) for column in columns] for item in items])


@app.command("use")
def use_context(
    name: Annotated[str, typer.Argument(help="Which.")], *, as_json: AsJson = False
) -> None:
    """Make a login the one that commands use where they are not told which.

    Example: authsvc context use work
    """
    profiles = Profiles()
    name = profiles.chosen(name)
    if name not in profiles.names():
        known = ", ".join(profiles.names()) or "none"
        raise NotFound(f"there is no login called {name}, but: {known}")
    profiles.use(name)
    print(json.dumps({"context": name}) if as_json else f"commands use {name} now")


def described(profile: Profile) -> dict[str, Any]:
    """What may be told of a login."""
    expires = datetime.fromtimestamp(profile.expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "username": profile.username,
        "credential": profile.credential,
        "expires_at": expires,
        "url": profile.url,
        "servers": list(profile.servers),
        "public_key": profile.public_key,
        "app": profile.app,
        "login_method": profile.method,
        "context": profile.name,
        "kept_in": str(profile.kept_in),
    }


async def _asked(name: str) -> dict[str, Any]:
    """What is kept, after the service said that it holds."""
    from authsvc.cli.login_session import LoginSession, refused  # noqa: PLC0415

    async with LoginSession(name) as session:
        profile = await session.fresh()
        try:
            me = await session.api.me(profile.jwt)
        except ApiError as error:
            raise refused(error) from None
    return described(profile) | {"username": me.get("username", profile.username)}


async def _revoked(name: str) -> bool:
    """Revoke the credential; whether there was anything to revoke.

    Raises:
        Unavailable: The service can't be asked.
    """
    from authsvc.cli.login_session import LoginSession  # noqa: PLC0415

    try:
        session = LoginSession(name)
    except NotAuthenticated:
        return False
    async with session:
        try:
            profile = await session.fresh()
            await session.api.revoke(profile.jwt, profile.credential)
        except (Unavailable, OSError) as error:
            raise Unavailable(f"{error}; --forget forgets the login without revoking it") from None
        except ApiError as error:
            if error.status not in _GONE:
                raise
            return False
        except AuthsvcError:
            return False
    return True
