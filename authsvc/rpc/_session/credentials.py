"""Where credentials come from: a file, or authsvc by an identity token."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from authsvc import subjects
from authsvc.claims import UserClaims, decode_account, decode_user, parse_creds
from authsvc.client import Api, Credential
from authsvc.errors import (
    ApiError,
    InvalidClaims,
    InvalidInput,
    NotAuthenticated,
    PermissionDenied,
    RpcError,
    Unavailable,
)
from authsvc.nkey import KeyPair
from authsvc.rpc._loops.threads import in_thread

__all__ = [
    "CredentialSource",
    "FileSource",
    "Login",
    "ServiceSource",
    "TokenTypes",
    "usable_servers",
]

TokenTypes = str | Callable[[], str] | Callable[[], Awaitable[str]]

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_CLIENT_ERRORS = range(400, 500)
_TRY_AGAIN = (408, 425, 429)
_BLANK = re.compile(r"\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a connection is made with.

    Args:
        username: The canonical name of the user.
        jwt: The NATS user JWT.
        key: The user's nkey.
        servers: NATS URLs.
        app: The one app the credential is narrowed to, if it is.
        max_payload: Bytes that this user may send in one message; -1 for no limit of its own.
        renew_at: When a new one should be asked for, on ``time.monotonic()``; None for never.
    """

    username: str
    jwt: str = field(repr=False)
    key: KeyPair
    servers: tuple[str, ...]
    app: str | None = None
    max_payload: int = -1
    renew_at: float | None = None

    @classmethod
    def from_jwt(
        cls, jwt: str, key: KeyPair, servers: Iterable[str], *, renew_at: float | None = None
    ) -> Login:
        """What the JWT itself says.

        Raises:
            InvalidClaims: It is no user JWT, its name is no username, or it is not the key's.
        """
        claims = decode_user(jwt)
        if claims.subject != key.public.text:
            raise InvalidClaims("the user JWT belongs to another nkey")
        return cls(
            username=subjects.untoken(claims.name),
            jwt=jwt,
            key=key,
            servers=tuple(servers),
            app=_narrowed_to(claims),
            # By a scoped signing key it says no limits; nats-server takes them from the template.
            max_payload=claims.payload or -1,
            renew_at=renew_at,
        )


class CredentialSource(Protocol):
    """Gives credentials, and new ones when they end.

    One that has an ``api`` too, an authsvc.client.Api, lets apps and mailboxes be registered.
    """

    async def obtain(self, current: Login | None) -> Login:
        """A credential to connect with.

        Args:
            current: The one to be followed; None for the first.

        Raises:
            NotAuthenticated: There is none any more.
            PermissionDenied: The user may not act any more.
            Unavailable: Try again later.
        """

    async def close(self) -> None:
        """Let go of what is held."""


class FileSource:
    """A ``.creds`` file or text. Nothing renews it; a file is read again when it ended.

    Args:
        creds: A path, or the text itself.
        servers: NATS URLs.
    """

    def __init__(self, creds: str | os.PathLike[str], servers: Sequence[str]) -> None:
        self._servers = _listed(servers)
        if not self._servers:
            raise InvalidInput("servers= is needed with creds=, such as ['nats://127.0.0.1:4222']")
        self._creds = creds

    async def obtain(self, current: Login | None) -> Login:
        """Read it; another text than the current one is needed when there is one.

        Raises:
            NotAuthenticated: It can't be read, or still is the one that ended.
        """
        text = self._creds
        if not (isinstance(text, str) and "-----BEGIN" in text):
            try:
                text = await asyncio.to_thread(Path(text).read_text, "utf-8")
            except (OSError, UnicodeError) as error:
                raise NotAuthenticated(f"the .creds file can't be read: {error}") from error
        try:
            creds = parse_creds(text)
            login = Login.from_jwt(creds.jwt, creds.key, self._servers)
        except InvalidInput as error:
            raise NotAuthenticated(str(error)) from error
        if current is not None and login.jwt == current.jwt:
            raise NotAuthenticated("the credential ended; issue a new .creds file")
        return login

    async def close(self) -> None:
        """Nothing is held."""


class ServiceSource:
    """authsvc: logs in with an identity token, renews, and logs in again where that ends.

    Args:
        url: Where authsvc is.
        token: The identity token, or a callable that returns one, async or not.
        key: The user's nkey.
        method: The login method; the service decides if None.
        name: What the credential is called in lists.
        servers: NATS URLs to use instead of those that the service names.
        fallback: NATS URLs to use where the service names none.
    """

    def __init__(
        self,
        url: str,
        token: TokenTypes,
        key: KeyPair,
        *,
        method: str | None = None,
        name: str | None = None,
        servers: Sequence[str] = (),
        fallback: Sequence[str] = (),
    ) -> None:
        self._api = Api(url, key=key)
        self._token = token
        self._key = key
        self._method = method
        self._name = name
        self._servers = _listed(servers)
        self._fallback = _listed(fallback)

    @property
    def api(self) -> Api:
        """The HTTP API that the credentials come from."""
        return self._api

    async def obtain(self, current: Login | None) -> Login:
        """Renew the current credential, or log in.

        Raises:
            NotAuthenticated: The service refuses the token or the key.
            PermissionDenied: The user is disabled.
            Unavailable: The service can't be reached, or asks to try later.
        """
        if current is not None:
            try:
                return self._login(await self._api.renew(current.jwt))
            except ApiError as error:
                # Ended, revoked or too old a session: only a login can help, if anything.
                if not _is_final(error):
                    raise Unavailable(str(error)) from error
        token = await self._identity_token()
        try:
            credential = await self._api.login(token, method=self._method, name=self._name)
        except ApiError as error:
            if not _is_final(error):
                raise Unavailable(str(error)) from error
            raise _refusal(error) from error
        except InvalidInput as error:
            raise NotAuthenticated(str(error)) from error
        return self._login(credential)

    async def issuers(self, account: str) -> frozenset[str]:
        """The keys that sign the account's user JWTs, for whoever checks signatures.

        Raises:
            ApiError: The service refused.
            Unavailable: It can't be reached.
            InvalidClaims: It answered another thing than the account's JWT.
        """
        claims = decode_account(await self._api.account_jwt(account))
        if claims.subject != account:
            raise InvalidClaims("authsvc answered another account's JWT")
        return frozenset({account, *claims.signing_keys})

    async def close(self) -> None:
        """Close the HTTP connections."""
        await self._api.close()

    async def _identity_token(self) -> str:
        found: Any = self._token
        if inspect.iscoroutinefunction(found):
            found = await found()
        elif callable(found):
            # A plain one may well block: on a file, a prompt, an HTTP call.
            found = await in_thread(found)
            found = await found if inspect.isawaitable(found) else found
        if not isinstance(found, str):
            raise NotAuthenticated(f"token= is or returns a str, not {type(found).__name__}")
        return found.strip()

    def _login(self, credential: Credential) -> Login:
        renew_at = time.monotonic() + credential.renew_in
        servers = self._servers or credential.servers or self._fallback
        try:
            return Login.from_jwt(credential.jwt, self._key, servers, renew_at=renew_at)
        except InvalidInput as error:
            raise NotAuthenticated(f"authsvc answered a JWT that does not hold: {error}") from error


def usable_servers(servers: Sequence[str]) -> list[str]:
    """Those that nats-py can use together: ``nats`` and ``tls``, else WebSockets.

    Raises:
        NotAuthenticated: There is none, or one is no URL.
    """
    for url in servers:
        if not _is_url(url):
            raise NotAuthenticated(f"{url!r} is no NATS URL, such as nats://nats.example.com:4222")
    plain = [url for url in servers if url.startswith(("nats://", "tls://"))]
    if plain:
        return plain
    sockets = [url for url in servers if url.startswith(("ws://", "wss://"))]
    if not sockets:
        raise NotAuthenticated("no NATS server is known; pass servers= or set NATS_URLS in authsvc")
    if importlib.util.find_spec("aiohttp") is None:
        raise NotAuthenticated("only WebSocket servers are known; pip install aiohttp for those")
    return sockets


def _listed(servers: Sequence[str]) -> tuple[str, ...]:
    return (servers,) if isinstance(servers, str) else tuple(servers)


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and _BLANK.search(url) is None
    except ValueError:
        return False


def _narrowed_to(claims: UserClaims) -> str | None:
    whole = f"responses.{claims.name}.>"
    start = f"responses.{claims.name}.*."
    allowed = claims.permissions.subscribe.allow
    if whole in allowed:
        return None
    for entry in allowed:
        if entry.startswith(start) and entry.endswith(".>"):
            return subjects.untoken(entry[len(start) : -2])
    return None


def _is_final(error: ApiError) -> bool:
    return error.status in _CLIENT_ERRORS and error.status not in _TRY_AGAIN


def _refusal(error: ApiError) -> RpcError:
    if error.status == _FORBIDDEN:
        return PermissionDenied(str(error))
    if error.status == _UNAUTHORIZED:
        return NotAuthenticated(f"{error} Log in again, with a token that authsvc accepts")
    return NotAuthenticated(str(error))
