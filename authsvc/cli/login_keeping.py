"""A login is kept: the profile, its secrets, and a .creds file where that was asked for."""

from __future__ import annotations

import itertools
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from authsvc.cli.login_profile import Profile, Profiles, write_private
from authsvc.cli.login_secrets import Kept, Place, Secrets, best_place
from authsvc.errors import NotAuthenticated, StartRefused

if TYPE_CHECKING:
    from authsvc.cli.login_proof import Proof
    from authsvc.credential import Credential
    from authsvc.nkey import KeyPair

__all__ = ["keep_login", "own_context", "profile_of", "secrets_of", "write_creds"]


def profile_of(
    name: str, url: str, method: str | None, syftbox: str | None, credential: Credential
) -> Profile:
    """What is kept of a login, and told."""
    from authsvc.cli.login_session import with_credential  # noqa: PLC0415

    empty = Profile(
        name=name,
        url=url,
        method=method,
        syftbox_url=syftbox,
        username="",
        credential="",
        public_key="",
        jwt="",
        servers=(),
        app=None,
        expires_at=0,
        renew_after=0,
        had_at=0,
        kept_in=Kept.FILES,
    )
    return with_credential(empty, credential)


def secrets_of(key: KeyPair, proof: Proof | None) -> Secrets:
    """What is kept of a login, secret as it is."""
    tokens = proof.tokens if proof else None
    return Secrets(
        seed=key.seed,
        refresh_token=tokens.refresh if tokens else None,
        access_token=tokens.access if tokens else None,
        identity=proof.token if proof and proof.lasting else None,
    )


def keep_login(
    profiles: Profiles, place: Place, profile: Profile, secrets: Secrets, *, forced: bool
) -> Place:
    """Keep the login, and make its context the current one; where it is kept in the end."""
    with profiles.locked(profile.name):
        try:
            place.write(profile.name, secrets)
        except StartRefused as error:
            if forced:
                raise
            print(f"warning: {error}", file=sys.stderr)
            place = best_place(Kept.FILES, profiles.folder)
            place.write(profile.name, secrets)
        profiles.write(replace(profile, kept_in=place.name))
    if place.name is not Kept.FILES:
        best_place(Kept.FILES, profiles.folder).remove(profile.name)
    profiles.use(profile.name)
    return place


def own_context(profiles: Profiles, chosen: str, username: str) -> str:
    """The context for a login where none was named: nobody else's login is replaced.

    Args:
        profiles: All there are.
        chosen: The current context.
        username: Who logged in.
    """
    logins = {name: _username(profiles, name) for name in (chosen, *profiles.names())}
    if logins[chosen] in {None, username}:
        return chosen
    for name, held in logins.items():
        if held == username:
            return name
    base = re.sub(r"[^A-Za-z0-9._-]", "-", username).lstrip("._-")[:60] or "login"
    return next(
        name
        for number in itertools.count(1)
        if (name := base if number == 1 else f"{base}-{number}") not in logins
    )


def _username(profiles: Profiles, name: str) -> str | None:
    try:
        found = profiles.find(name)
    except (NotAuthenticated, OSError):
        return None
    return found.username if found else None


def write_creds(path: Path, credential: Credential, key: KeyPair) -> None:
    """Write a ``.creds`` file, in place of one that is there.

    Raises:
        StartRefused: Another file is there.
        OSError: It can't be written.
    """
    from authsvc.claims import format_creds  # noqa: PLC0415

    if path.exists() and "BEGIN NATS USER JWT" not in path.read_text(errors="replace"):
        raise StartRefused(f"{path} is there and is no .creds file; name another one")
    write_private(path, format_creds(credential.jwt, key))
