"""SyftBox's configuration and its ``syft://`` URLs.

Sources: OpenMined's syftbox client and syft-core, as far as they are public: ``config.json`` in
``~/.syftbox`` or ``~/.config/syftbox``, two families of environment variables, and
``POST {server_url}/auth/refresh``.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

import httpx

from authsvc import jose, subjects
from authsvc.errors import InvalidInput, NotAuthenticated, Unavailable
from authsvc.rpc._credentials import ServiceSource
from authsvc.rpc._keys import KeyTypes, load_key

__all__ = ["Config", "SyftUrl", "load_config", "source"]

_URL = re.compile(r"syft://([^/?#]+)/(?:app_data|api_data)/([^/?#]+)(?:/rpc)?(/[^#]*)?\Z")
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104  what configs contain
_MAX_CONFIG_BYTES = 1 << 20
_EARLY_SECONDS = 60


class SyftUrl(NamedTuple):
    """``syft://{username}/app_data/{app}/rpc/{endpoint}``, taken apart."""

    username: str
    app: str
    target: str

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read such a URL; ``/rpc`` and the endpoint may be missing.

        Raises:
            InvalidInput: It is none.
        """
        match = _URL.match(url)
        if match is None:
            raise InvalidInput(
                f"{url!r} is no syft URL: syft://bob@example.com/app_data/app/rpc/endpoint"
            )
        name, app = unquote(match[1]), unquote(match[2])
        return cls(subjects.username(name), subjects.app_name(app), match[3] or "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What SyftBox's configuration says; tokens stay out of repr."""

    email: str
    server_url: str
    path: Path | None
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    authsvc_url: str
    nats_urls: tuple[str, ...] = ()
    nats_fallback: tuple[str, ...] = ()


def load_config(environment: Mapping[str, str] | None = None) -> Config:
    """Read the configuration: environment first, then the file.

    Args:
        environment: The variables; the process's own if None.

    Raises:
        NotAuthenticated: There is none, or it lacks what is needed.
    """
    env = os.environ if environment is None else environment
    path, data = _read_file(env)
    email = env.get("SYFTBOX_EMAIL") or data.get("email")
    server = env.get("SYFTBOX_SERVER_URL") or data.get("server_url")
    access = env.get("SYFTBOX_ACCESS_TOKEN") or data.get("access_token")
    refresh = env.get("SYFTBOX_REFRESH_TOKEN") or data.get("refresh_token")
    if not server:
        raise NotAuthenticated(
            "no SyftBox configuration was found: log in with SyftBox, set SYFTBOX_SERVER_URL, or "
            "pass url= and token="
        )
    if not (access or refresh):
        raise NotAuthenticated("SyftBox's configuration holds no token: log in with SyftBox again")
    nats = env.get("SYFTBOX_NATS_URL", "")
    service, fallback = _inferred(str(server))
    return Config(
        email=str(email or ""),
        server_url=str(server).rstrip("/"),
        path=path,
        access_token=access or None,
        refresh_token=refresh or None,
        authsvc_url=(env.get("SYFTBOX_AUTHSVC_URL") or service).rstrip("/"),
        nats_urls=tuple(url.strip() for url in nats.split(",") if url.strip()),
        nats_fallback=fallback,
    )


def source(
    *,
    key: KeyTypes = None,
    servers: Sequence[str] = (),
    name: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServiceSource:
    """A credential source from SyftBox's configuration.

    Args:
        key: As for the client; a file of our own beside SyftBox's configuration if None.
        servers: NATS URLs, before those of the environment.
        name: What the credential is called in lists.
        environment: The variables; the process's own if None.

    Raises:
        NotAuthenticated: There is no such configuration.
    """
    config = load_config(environment)
    if key is None and config.path is not None:
        # SyftBox drops keys it does not know when it rewrites its file, so not in there.
        key = config.path.with_name("authsvc.nk")
    return ServiceSource(
        config.authsvc_url,
        _tokens(config),
        load_key(key),
        name=name,
        servers=servers or config.nats_urls,
        fallback=config.nats_fallback,
    )


def _read_file(env: Mapping[str, str]) -> tuple[Path | None, dict[str, Any]]:
    named = env.get("SYFTBOX_CLIENT_CONFIG_PATH") or env.get("SYFTBOX_CONFIG_PATH")
    home = Path(env.get("HOME") or Path.home())
    places = [home / ".syftbox" / "config.json", home / ".config" / "syftbox" / "config.json"]
    for path in [Path(named).expanduser()] if named else places:
        try:
            if path.stat().st_size > _MAX_CONFIG_BYTES:
                raise NotAuthenticated(f"{path} is too large to be SyftBox's configuration")
            data = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise NotAuthenticated(f"SyftBox's configuration {path} can't be read") from error
        if not isinstance(data, dict):
            raise NotAuthenticated(f"SyftBox's configuration {path} is no JSON object")
        return path, data
    if named:
        raise NotAuthenticated(f"SyftBox's configuration {named} does not exist")
    return None, {}


def _inferred(server_url: str) -> tuple[str, tuple[str, ...]]:
    """Where authsvc is if nothing says so, and where NATS is if authsvc does not say so either."""
    try:
        parts = urlsplit(server_url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise NotAuthenticated(
            f"SyftBox's server_url {server_url!r} is no URL, such as https://syftbox.net"
        )
    if host in _LOOPBACK:
        return "http://127.0.0.1:8080", ("nats://127.0.0.1:4222",)
    host = f"[{host}]" if ":" in host else host
    nats = (f"tls://{host}:4222",) if parts.scheme == "https" else ()
    return f"{parts.scheme}://{parts.netloc}", nats


def _tokens(config: Config) -> Callable[[], Awaitable[str]]:
    current, refresh = config.access_token, config.refresh_token

    async def token() -> str:
        nonlocal current, refresh
        if current is None or (refresh and _ends_soon(current)):
            try:
                current, refresh = await _refresh(config, refresh)
            except NotAuthenticated:
                # SyftBox's own client may have exchanged it meanwhile and written down the next.
                newer = await asyncio.to_thread(_read_again, config)
                if newer in {None, refresh}:
                    raise
                current, refresh = await _refresh(config, newer)
        return current

    return token


def _ends_soon(token: str) -> bool:
    try:
        expires = jose.split(token).payload.get("exp")
    except InvalidInput:
        return False
    return isinstance(expires, int | float) and expires < time.time() + _EARLY_SECONDS


def _read_again(config: Config) -> str | None:
    if config.path is None:
        return None
    try:
        _, data = _read_file({"SYFTBOX_CLIENT_CONFIG_PATH": str(config.path)})
    except NotAuthenticated:
        return None
    return data.get("refresh_token")


async def _refresh(config: Config, refresh: str | None) -> tuple[str, str]:
    """A new access token, and the refresh token to use next."""
    if refresh is None:
        raise NotAuthenticated("the SyftBox access token ended; log in with SyftBox again")
    url = f"{config.server_url}/auth/refresh"
    try:
        async with httpx.AsyncClient(timeout=10.0, follow_redirects=False) as http:
            answer = await http.post(url, json={"refreshToken": refresh})
    except httpx.HTTPError as error:
        raise Unavailable(f"the SyftBox server can't be reached at {config.server_url}") from error
    if answer.status_code == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        raise Unavailable(f"the SyftBox server answered {answer.status_code}; try again later")
    try:
        pair = jose.loads(answer.content) if answer.is_success else {}
    except InvalidInput:
        pair = {}
    token, following = pair.get("accessToken"), pair.get("refreshToken")
    if not isinstance(token, str) or not token:
        raise NotAuthenticated("SyftBox refuses the refresh token; log in with SyftBox again")
    return token, following if isinstance(following, str) and following else refresh
