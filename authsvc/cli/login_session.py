"""A login that is kept: its credential as it is now, renewed or had anew where that is due.

async with LoginSession("default") as session:
    profile = await session.fresh()
    await session.api.me(profile.jwt)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from authsvc.cli.login_profile import DEFAULT, Profile, Profiles
from authsvc.cli.login_secrets import Place, Secrets, place_named
from authsvc.client import Api
from authsvc.credential import Credential
from authsvc.errors import (
    ApiError,
    InvalidInput,
    NotAuthenticated,
    PermissionDenied,
    Unavailable,
)
from authsvc.nkey import KeyPair, Prefix

__all__ = ["LoginSession", "nobody", "refused", "with_credential"]

_FORBIDDEN = 403
_CLIENT_ERRORS = range(400, 500)
_TRY_AGAIN = (408, 425, 429)
_SPARE_SECONDS = 5.0


class LoginSession:
    """A context's login.

    Args:
        name: The context.
        profiles: Where it is kept.

    Raises:
        NotAuthenticated: Nobody is logged in there.
    """

    def __init__(self, name: str, profiles: Profiles | None = None) -> None:
        self._profiles = profiles or Profiles()
        found = self._profiles.find(name)
        if found is None:
            raise nobody(name)
        self.profile = found
        self._place: Place = place_named(found.kept_in, self._profiles.folder)
        self.key = _key(self._place.read(name))
        self._api: Api | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def api(self) -> Api:
        """The HTTP API, with this login's nkey."""
        if self._api is None:
            self._api = Api(self.profile.url, key=self.key)
        return self._api

    async def close(self) -> None:
        """Close the HTTP connections; they are made anew where they are needed."""
        api, self._api = self._api, None
        if api is not None:
            await api.close()

    async def fresh(self, *, after: str | None = None, max_age: float | None = None) -> Profile:
        """The profile with a JWT that lives and is not due for renewal.

        Args:
            after: A JWT that must be followed by another one, though it may live.
            max_age: Seconds after which one that lives is renewed where that is possible: it
                may have been superseded meanwhile, which only the service and nats-server know.

        Raises:
            NotAuthenticated: The login ended, or was revoked.
            PermissionDenied: The user is disabled.
            Unavailable: authsvc or the SyftBox server can't be reached.
        """
        async with self._locked():
            profile = self._profiles.find(self.profile.name)
            if profile is None:
                raise nobody(self.profile.name)
            if profile.public_key != self.key.public.text:
                raise NotAuthenticated("somebody logged in anew here meanwhile; start again")
            due = profile.jwt == after or time.time() >= profile.renew_after
            old = max_age is not None and not 0 <= time.time() - profile.had_at <= max_age
            if due or old:
                try:
                    profile = await self._next(profile)
                except Unavailable:
                    if due:
                        raise
                self._profiles.write(profile)
            self.profile = profile
            return profile

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        lock = self._profiles.locked(self.profile.name)
        # In a thread: another process may hold it while it waits for a server.
        await asyncio.to_thread(lock.__enter__)
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    async def _next(self, profile: Profile) -> Profile:
        try:
            return with_credential(profile, await self.api.renew(profile.jwt))
        except ApiError as error:
            # Ended, revoked or too old a session: only a login can help, if anything.
            if not _is_final(error):
                raise Unavailable(str(error)) from error
        token = await asyncio.to_thread(self._token, profile)
        try:
            found = await self.api.login(token, method=profile.method, app=profile.app)
        except ApiError as error:
            raise refused(error) from error
        except InvalidInput as error:
            raise NotAuthenticated(str(error)) from error
        return with_credential(profile, found)

    def _token(self, profile: Profile) -> str:
        """An identity token to log in with again."""
        from authsvc.cli.login_syftbox import SyftboxServer, ends_soon  # noqa: PLC0415

        kept = self._place.read(profile.name)
        if kept.identity:
            return kept.identity
        if kept.access_token and not ends_soon(kept.access_token):
            return kept.access_token
        if not kept.refresh_token or not profile.syftbox_url:
            raise NotAuthenticated("the login ended; log in again: authsvc login")
        tokens = SyftboxServer(profile.syftbox_url).refresh(kept.refresh_token)
        following = replace(kept, access_token=tokens.access, refresh_token=tokens.refresh)
        self._place.write(profile.name, following)
        return tokens.access


def nobody(name: str) -> NotAuthenticated:
    """Nobody is logged in."""
    if name == DEFAULT:
        return NotAuthenticated("nobody is logged in: authsvc login")
    return NotAuthenticated(f"the context {name} has no login: authsvc login --context {name}")


def refused(error: ApiError) -> Exception:
    """What a refusal of authsvc's means for a login."""
    if not _is_final(error):
        return Unavailable(str(error))
    if error.status == _FORBIDDEN:
        return PermissionDenied(str(error))
    if error.slug == "key-revoked":
        return NotAuthenticated("the login was revoked; log in again: authsvc login")
    return NotAuthenticated(f"{error} Log in again: authsvc login")


def with_credential(profile: Profile, credential: Credential) -> Profile:
    """The profile with what the service answered, in this machine's time."""
    now = time.time()
    return replace(
        profile,
        username=credential.username,
        credential=credential.id,
        public_key=credential.public_key,
        jwt=credential.jwt,
        servers=credential.servers,
        app=credential.app,
        had_at=now,
        expires_at=now + credential.expires_in,
        renew_after=now + min(credential.renew_in, credential.expires_in - _SPARE_SECONDS),
    )


def _key(secrets: Secrets) -> KeyPair:
    try:
        return KeyPair.from_seed(secrets.seed, Prefix.USER)
    except InvalidInput:
        raise NotAuthenticated("what is kept is no nkey; log in again: authsvc login") from None


def _is_final(error: ApiError) -> bool:
    return error.status in _CLIENT_ERRORS and error.status not in _TRY_AGAIN
