"""What SyftBox's configuration says: a file, and variables that come before it.

Sources: OpenMined's syftbox client and syft-core, as far as they are public. Both read
``config.json`` in ``~/.syftbox``, the client in ``~/.config/syftbox`` too; a file of the first
releases is called ``client_config.json`` and says ``sync_folder`` and ``port``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authsvc.errors import NotAuthenticated

__all__ = ["Config", "load_config", "read_file"]

_DEFAULT_SERVER = "https://syftbox.net"
_LEGACY_NAME = "client_config.json"
_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104  what configs contain
_MAX_BYTES = 1 << 20
_NONE_FOUND = (
    "no SyftBox configuration was found: log in with SyftBox, set SYFTBOX_SERVER_URL and "
    "SYFTBOX_REFRESH_TOKEN, or pass url= and token="
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What SyftBox's configuration says; tokens stay out of repr.

    Args:
        email: Who this is, in lower case; not proven, and possibly empty.
        server_url: The SyftBox server.
        path: The file that was read, if there was one.
        key_path: Where this user's nkey belongs: beside that file, or nowhere if there is none
            or the environment says that this is another user.
        state_path: Where tokens that follow others are kept; SyftBox's own file stays as it is.
        data_dir: Where the user's datasites lie.
        client_url: SyftBox's own client on this machine.
        client_token: Its token.
        access_token: Proves the user to services; seconds to days old.
        refresh_token: Is exchanged for an access token at the SyftBox server.
        app_id: The app that SyftBox's client started this program as, if it did.
        app_dir: That app's folder.
        app_port: The port that it was given.
        authsvc_url: Where authsvc is.
        nats_urls: Where NATS is; before what authsvc says.
        nats_fallback: Where NATS is if authsvc does not say.
    """

    email: str
    server_url: str
    path: Path | None
    key_path: Path | None
    state_path: Path
    data_dir: Path | None = None
    client_url: str | None = None
    client_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    app_id: str | None = None
    app_dir: Path | None = None
    app_port: int | None = None
    authsvc_url: str
    nats_urls: tuple[str, ...] = ()
    nats_fallback: tuple[str, ...] = ()


def load_config(
    environment: Mapping[str, str] | None = None,
    *,
    path: str | os.PathLike[str] | None = None,
) -> Config:
    """Read the configuration: environment first, then the file.

    Args:
        environment: The variables; the process's own if None.
        path: The file; where the environment says, or SyftBox puts it, if None.

    Raises:
        NotAuthenticated: There is none, or it lacks what is needed.
    """
    env = os.environ if environment is None else environment
    found, data = _find_file(env, path)
    known = {name: env.get(f"SYFTBOX_{name.upper()}") or data.get(name) for name in _NAMES}
    access, refresh = _text(known, "access_token"), _text(known, "refresh_token")
    email = (_text(known, "email") or "").strip().lower()
    if found is None and not (known["server_url"] or access or refresh):
        raise NotAuthenticated(_NONE_FOUND)
    server = str(known["server_url"] or _DEFAULT_SERVER).rstrip("/")
    service, fallback, local = _inferred(server)
    if not (access or refresh or (local and email)):
        raise NotAuthenticated("SyftBox's configuration holds no token: log in with SyftBox again")
    same = not email or email == str(data.get("email", email)).strip().lower()
    folder = found.parent if found is not None else _home(env) / ".syftbox"
    nats = env.get("SYFTBOX_NATS_URL", "")
    port = env.get("SYFTBOX_APP_PORT", "")
    return Config(
        email=email,
        server_url=server,
        path=found,
        key_path=folder / "authsvc.nk" if found is not None and same else None,
        state_path=folder / "authsvc.json",
        data_dir=_path(known["data_dir"] or data.get("sync_folder")),
        client_url=_client_url(env, data),
        client_token=_text(known, "client_token"),
        access_token=access,
        refresh_token=refresh,
        app_id=env.get("SYFTBOX_APP_ID") or None,
        app_dir=_path(env.get("SYFTBOX_APP_DIR")),
        app_port=int(port) if port.isascii() and port.isdigit() else None,
        authsvc_url=(env.get("SYFTBOX_AUTHSVC_URL") or service).rstrip("/"),
        nats_urls=tuple(url.strip() for url in nats.split(",") if url.strip()),
        nats_fallback=fallback,
    )


_NAMES = ("email", "server_url", "data_dir", "client_token", "access_token", "refresh_token")


def read_file(path: Path) -> dict[str, Any]:
    """SyftBox's file.

    Raises:
        FileNotFoundError: There is none.
        NotAuthenticated: It can't be read, or is no such file.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise NotAuthenticated(f"{path} is too large to be SyftBox's configuration")
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise NotAuthenticated(f"SyftBox's configuration {path} can't be read") from error
    if not isinstance(data, dict):
        raise NotAuthenticated(f"SyftBox's configuration {path} is no JSON object")
    return data


def _find_file(
    env: Mapping[str, str], path: str | os.PathLike[str] | None
) -> tuple[Path | None, dict[str, Any]]:
    named = path or env.get("SYFTBOX_CLIENT_CONFIG_PATH") or env.get("SYFTBOX_CONFIG_PATH")
    folders = (_home(env) / ".syftbox", _home(env) / ".config" / "syftbox")
    places = [folder / "config.json" for folder in folders]
    if named:
        places = [Path(named).expanduser()]
    for place in [*places, *(place.with_name(_LEGACY_NAME) for place in places)]:
        try:
            return place, read_file(place)
        except FileNotFoundError:
            continue
    if named:
        raise NotAuthenticated(f"SyftBox's configuration {named} does not exist")
    return None, {}


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _text(known: Mapping[str, Any], name: str) -> str | None:
    """A value that is a str; anything else in its place is none."""
    value = known[name]
    return value if value and isinstance(value, str) else None


def _path(value: Any) -> Path | None:
    return Path(value).expanduser() if value and isinstance(value, str) else None


def _client_url(env: Mapping[str, str], data: Mapping[str, Any]) -> str | None:
    url = env.get("SYFTBOX_CLIENT_URL") or data.get("client_url")
    if url:
        return str(url)
    port = env.get("SYFTBOX_PORT") or data.get("port")
    return f"http://localhost:{port}" if port else None


def _inferred(server_url: str) -> tuple[str, tuple[str, ...], bool]:
    """Where authsvc is if nothing says so, where NATS is if authsvc does not, whether it is here.

    Raises:
        NotAuthenticated: The server's URL is none.
    """
    try:
        parts = urlsplit(server_url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise NotAuthenticated(
            f"SyftBox's server_url {server_url!r} is no URL, such as {_DEFAULT_SERVER}"
        )
    if host in _LOOPBACK:
        return "http://127.0.0.1:8080", ("nats://127.0.0.1:4222",), True
    host = f"[{host}]" if ":" in host else host
    nats = (f"tls://{host}:4222",) if parts.scheme == "https" else ()
    return f"{parts.scheme}://{parts.netloc}", nats, False
