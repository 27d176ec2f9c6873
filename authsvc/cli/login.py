"""``authsvc login``: sign in, and keep the login for the other commands."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authsvc.cli import loop
from authsvc.cli.context import AsJson
from authsvc.cli.login_keeping import (
    keep_login,
    own_context,
    profile_of,
    secrets_of,
    write_creds,
)
from authsvc.cli.login_profile import Profile, Profiles
from authsvc.cli.login_secrets import Kept, Place, best_place, place_named
from authsvc.cli.show import visible
from authsvc.errors import (
    ApiError,
    AuthsvcError,
    InvalidInput,
    NotAuthenticated,
    StartRefused,
)

if TYPE_CHECKING:
    from authsvc.cli.login_proof import Proof
    from authsvc.credential import Credential
    from authsvc.nkey import KeyPair

__all__ = ["ContextName", "login"]

_DEAD = ("key-revoked", "key-taken")

ContextName = Annotated[
    str | None,
    typer.Option("--context", help="Which login: AUTHSVC_CONTEXT or the current one if none."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The options, as far as several steps need them."""

    email: str | None
    code: str | None
    refresh_token_file: Path | None
    token_file: Path | None
    enrolment_key_file: Path | None
    method: str | None
    ttl: int | None
    app: str | None
    name: str


def login(
    *,
    url: Annotated[
        str | None,
        typer.Option(help="Where authsvc is; AUTHSVC_URL, the last login's or `up`'s if none."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Instead of --url: the data directory of `authsvc up`.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Who this is; asked for if none.")] = None,
    code: Annotated[
        str | None,
        typer.Option(
            help="The code that came by e-mail, or AUTHSVC_OTP_CODE; - has one sent and reads it "
            "from standard input."
        ),
    ] = None,
    send_code: Annotated[
        bool, typer.Option("--send-code", help="Only have a code sent; give it with --code later.")
    ] = False,
    refresh_token_file: Annotated[
        Path | None, typer.Option(help="A file with a SyftBox refresh token; - for standard input.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with an identity token; - for standard input.")
    ] = None,
    enrolment_key_file: Annotated[
        Path | None, typer.Option(help="A file with an enrolment key; - for standard input.")
    ] = None,
    device: Annotated[
        bool,
        typer.Option("--device", help="Show a code, and wait until somebody enters it elsewhere."),
    ] = False,
    login_method: Annotated[
        str | None, typer.Option(help="The login method; by the other options if none.")
    ] = None,
    syftbox_url: Annotated[
        str | None, typer.Option(help="The SyftBox server; as authsvc or SyftBox says if none.")
    ] = None,
    context: ContextName = None,
    name: Annotated[
        str | None, typer.Option(help="What the credential is called in lists.")
    ] = None,
    ttl: Annotated[int | None, typer.Option(min=1, help="A shorter life, in seconds.")] = None,
    app_name: Annotated[str | None, typer.Option("--app", help="Narrow it to one app.")] = None,
    creds: Annotated[
        Path | None,
        typer.Option(help="Write a .creds file too, mode 0600; it ends as the JWT does."),
    ] = None,
    keep: Annotated[
        Kept, typer.Option(help="Where secrets are kept: the keyring if there is one, else files.")
    ] = Kept.AUTO,
    as_json: AsJson = False,
) -> None:
    """Sign in, by a code that SyftBox sends by e-mail unless an option says otherwise.

    Refresh token and nkey are kept in the system's keyring, or in 0600 files where there is none;
    from then on `authsvc rpc`, `authsvc app` and `authsvc whoami` are this person. Exit code 3
    where the proof is refused.

    Example: authsvc login --email alice@example.com

    Without questions: authsvc login --email alice@example.com --send-code, and then
    authsvc login --email alice@example.com --code 12345678
    """
    from authsvc.cli.login_place import find_authsvc, find_syftbox  # noqa: PLC0415

    profiles = Profiles()
    where, current = profiles.chosen(context), profiles.chosen(None)
    before = _before(profiles, where)
    # Another context is most often another person at the same service.
    authsvc = find_authsvc(url, data_dir, syftbox_url, before or _before(profiles, current))
    if before is not None and before.url != authsvc:
        before = None
    methods = loop.run(_discover(authsvc))["login_methods"]
    syftbox = find_syftbox(syftbox_url, before, methods)
    asked = _Asked(
        email=email,
        code=code,
        refresh_token_file=refresh_token_file,
        token_file=token_file,
        enrolment_key_file=enrolment_key_file,
        method=login_method,
        ttl=ttl,
        app=app_name,
        name=name or f"authsvc login on {socket.gethostname()}"[:64],
    )
    _check(asked, send_code=send_code, device=device)
    if send_code:
        _send(syftbox, email, as_json=as_json)
        return
    proof: Proof | None = None
    if device:
        from authsvc.cli.login_device import METHOD, let_in  # noqa: PLC0415

        method: str | None = METHOD
        waiting = let_in(authsvc, name=asked.name, ttl=asked.ttl, app=asked.app)
        credential, key = loop.run(waiting)
    else:
        method, who, proof = _prove(asked, methods, syftbox)
        known = _known_key(profiles, before, who)
        credential, key = loop.run(_log_in(authsvc, method, proof.token, known, asked))
    server = syftbox if proof and proof.tokens else None
    if not (context or os.environ.get("AUTHSVC_CONTEXT")):
        where = own_context(profiles, where, credential.username)
    profile = profile_of(where, authsvc, method, server, credential)
    place = best_place(keep, profiles.folder)
    forced = keep is Kept.KEYRING
    place = keep_login(profiles, place, profile, secrets_of(key, proof), forced=forced)
    if creds is not None:
        write_creds(creds, credential, key)
    _say(replace(profile, kept_in=place.name), place, creds, as_json=as_json)


def _check(asked: _Asked, *, send_code: bool, device: bool) -> None:
    ways = [asked.refresh_token_file, asked.token_file, asked.enrolment_key_file, asked.code]
    if sum(way is not None for way in ways) > 1:
        raise typer.BadParameter(
            "one proof is enough: --code, --refresh-token-file, --token-file or "
            "--enrolment-key-file"
        )
    if device and (any(way is not None for way in ways) or asked.method or asked.email):
        raise typer.BadParameter("--device is a proof of its own: leave e-mail and the others out")
    if send_code and (device or any(way is not None for way in ways) or asked.method):
        raise typer.BadParameter("--send-code goes with --email only")


def _before(profiles: Profiles, name: str) -> Profile | None:
    """The login there was; one that can't be used does not stand in the way of a new one."""
    try:
        return profiles.find(name)
    except NotAuthenticated:
        return None


def _send(syftbox: str | None, email: str | None, *, as_json: bool) -> None:
    from authsvc.cli.login_proof import ask_email  # noqa: PLC0415

    server, address = _server(syftbox), ask_email(email)
    server.send_code(address)
    if as_json:
        print(json.dumps({"sent_to": address, "by": server.url}))
    else:
        print(f"a code was sent to {address}; next: authsvc login --email {address} --code CODE")


def _prove(
    asked: _Asked, methods: list[dict[str, Any]], syftbox: str | None
) -> tuple[str | None, str | None, Proof]:
    """The login method, who this is as far as it is known, and the proof."""
    from authsvc.cli import login_proof  # noqa: PLC0415

    if asked.token_file is not None:
        token = login_proof.from_file(asked.token_file, "identity token")
        return asked.method, None, login_proof.Proof(token)
    if asked.enrolment_key_file is not None:
        token = login_proof.from_file(asked.enrolment_key_file, "enrolment key")
        named = login_proof.method_named(methods, "enrol")
        return asked.method or named, None, login_proof.Proof(token)
    if asked.refresh_token_file is not None:
        proof = login_proof.refreshed(_server(syftbox), asked.refresh_token_file)
        return asked.method or login_proof.method_named(methods, "syftbox"), None, proof
    names = [str(it.get("name")) for it in methods]
    if asked.method == "dev" or (names == ["dev"] and asked.method is None):
        email = login_proof.ask_email(asked.email)
        return "dev", email, login_proof.Proof(email, lasting=True)
    if asked.method not in {None, "syftbox"}:
        raise typer.BadParameter(f"--login-method {asked.method} goes with --token-file")
    if asked.method is None and "syftbox" not in names and syftbox is None:
        raise StartRefused(
            f"this authsvc takes no SyftBox login, only: {visible(', '.join(names)) or 'none'}; "
            "use --token-file F with --login-method"
        )
    server, email = _server(syftbox), login_proof.ask_email(asked.email)
    return (
        login_proof.method_named(methods, "syftbox"),
        email,
        login_proof.ask_code(server, email, asked.code),
    )


def _server(url: str | None) -> Any:
    from authsvc.cli.login_syftbox import SyftboxServer, insecure  # noqa: PLC0415

    if url is None:
        raise typer.BadParameter("which SyftBox server? --syftbox-url https://syftbox.example.org")
    if insecure(url):
        print(f"warning: {url} is not https: tokens can be read on the way", file=sys.stderr)
    return SyftboxServer(url)


def _known_key(profiles: Profiles, before: Profile | None, who: str | None) -> KeyPair | None:
    """The key of the login there was, if it is the same person's: the credential stays the same."""
    from authsvc.nkey import KeyPair, Prefix  # noqa: PLC0415

    if before is None or before.username != who:
        return None
    try:
        seed = place_named(before.kept_in, profiles.folder).read(before.name).seed
        return KeyPair.from_seed(seed, Prefix.USER)
    except (AuthsvcError, ValueError):
        return None


async def _discover(url: str) -> dict[str, Any]:
    from authsvc.client import Api  # noqa: PLC0415

    async with Api(url) as api:
        return {"login_methods": [], **await api.discover()}


async def _log_in(
    url: str, method: str | None, token: str, known: KeyPair | None, asked: _Asked
) -> tuple[Credential, KeyPair]:
    from authsvc.cli.login_session import refused  # noqa: PLC0415
    from authsvc.client import Api  # noqa: PLC0415
    from authsvc.nkey import KeyPair, Prefix  # noqa: PLC0415

    for key in filter(None, (known, KeyPair.generate(Prefix.USER))):
        async with Api(url, key=key) as api:
            try:
                found = await api.login(
                    token, method=method, name=asked.name, ttl=asked.ttl, app=asked.app
                )
            except ApiError as error:
                if key is known and error.slug in _DEAD:
                    continue
                raise refused(error) from None
            except InvalidInput as error:
                raise NotAuthenticated(str(error)) from None
            return found, key
    raise AssertionError  # the last key is a new one


def _say(profile: Profile, place: Place, creds: Path | None, *, as_json: bool) -> None:
    from authsvc.cli.whoami import described  # noqa: PLC0415

    if as_json:
        print(json.dumps(described(profile) | ({"creds": str(creds)} if creds else {})))
        return
    print(f"logged in as {visible(profile.username)} at {profile.url} (context {profile.name})")
    print(f"kept in {place.describe()}")
    if creds is not None:
        print(f"{creds} ends at {described(profile)['expires_at']}")
