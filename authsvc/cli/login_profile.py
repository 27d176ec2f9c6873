"""Who is logged in here: one profile for each context, in the user's configuration directory.

    profiles = Profiles()
    profile = profiles.read(profiles.chosen(None))

What is secret lies elsewhere (``login_secrets``); the JWT stands here, and is worth nothing without
the nkey. Directories get mode 0700, files 0600.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from authsvc.errors import InvalidInput, NotAuthenticated

__all__ = ["DEFAULT", "Profile", "Profiles", "config_dir", "read_private", "write_private"]

DEFAULT = "default"
_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CURRENT = "current"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A login as it is kept.

    Args:
        name: The context's.
        url: Where authsvc is.
        method: The login method; None where the service decided.
        syftbox_url: The SyftBox server that the tokens come from, if they do.
        username: Who this is.
        credential: The credential's id.
        public_key: Of the nkey.
        jwt: The NATS user JWT.
        servers: NATS URLs.
        app: The one app that the credential is narrowed to, if it is.
        expires_at: When the JWT ends, in seconds since the epoch.
        renew_after: When to ask for the next one, likewise.
        had_at: When it was had, likewise.
        kept_in: ``keyring`` or ``files``: where the secrets are.
    """

    name: str
    url: str
    method: str | None
    syftbox_url: str | None
    username: str
    credential: str
    public_key: str
    jwt: str = field(repr=False)
    servers: tuple[str, ...]
    app: str | None
    expires_at: float
    renew_after: float
    had_at: float
    kept_in: str


def config_dir() -> Path:
    """``~/.config/authsvc``, or as XDG_CONFIG_HOME says."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "authsvc"


class Profiles:
    """All profiles of this user on this machine.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or config_dir()
        self._logins = self.folder / "logins"

    def chosen(self, name: str | None) -> str:
        """The context that is meant: the one named, AUTHSVC_CONTEXT, the current one, `default`.

        Raises:
            InvalidInput: That is no name of a context.
        """
        found = name or os.environ.get("AUTHSVC_CONTEXT") or self.current() or DEFAULT
        if not _NAME.fullmatch(found):
            raise InvalidInput(
                f"{found!r} is no name of a context: letters, digits, '.', '_' and '-', 64 at most"
            )
        return found

    def current(self) -> str | None:
        """The context that was chosen last; None where there is none."""
        try:
            found = (self.folder / _CURRENT).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError):
            return None
        return found if _NAME.fullmatch(found) else None

    def use(self, name: str) -> None:
        """Make a context the current one."""
        write_private(self.folder / _CURRENT, name + "\n")

    def names(self) -> list[str]:
        """The contexts there are."""
        return sorted(path.stem for path in self._logins.glob("*.json"))

    def find(self, name: str) -> Profile | None:
        """A context's profile; None where nobody is logged in there.

        Raises:
            NotAuthenticated: The file can't be used.
        """
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def read(self, name: str) -> Profile:
        """A context's profile.

        Raises:
            FileNotFoundError: Nobody is logged in there.
            NotAuthenticated: The file can't be used.
        """
        path = self._path(name)
        data = read_private(path)
        if data.pop("version", None) != _VERSION:
            raise NotAuthenticated(f"{path} is of another version of authsvc; log in again")
        try:
            return Profile(**{**data, "name": name, "servers": tuple(data["servers"])})
        except (TypeError, KeyError):
            raise NotAuthenticated(f"{path} is no login of authsvc's; log in again") from None

    def write(self, profile: Profile) -> None:
        """Keep a profile."""
        data = {"version": _VERSION, **asdict(profile)}
        write_private(self._path(profile.name), json.dumps(data, indent=1) + "\n")

    def remove(self, name: str) -> None:
        """Forget a profile; the secrets are removed apart."""
        self._path(name).unlink(missing_ok=True)
        self._path(name, ".lock").unlink(missing_ok=True)
        if self.current() == name:
            (self.folder / _CURRENT).unlink(missing_ok=True)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """One process at a time changes a login: the others then find what it left."""
        path = self._path(name, ".lock")
        _make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.name == "posix":
                import fcntl  # noqa: PLC0415 - not on Windows

                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str, end: str = ".json") -> Path:
        return self._logins / f"{name}{end}"


def read_private(path: Path) -> dict[str, Any]:
    """A JSON object in a file that only its owner may read.

    Raises:
        FileNotFoundError: There is none.
        NotAuthenticated: Others can read it, or it is no such file.
    """
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise NotAuthenticated(f"others can read {path}: run `chmod 600 {path}`")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError):
        raise NotAuthenticated(f"{path} can't be read; log in again: authsvc login") from None
    if not isinstance(found, dict):
        raise NotAuthenticated(f"{path} is no login of authsvc's; log in again: authsvc login")
    return found


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner only; so are the folders that are made.

    Raises:
        OSError: It can't be written.
    """
    _make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    # mkdir gives the mode to the last one only.
    missing = [it for it in (folder, *folder.parents) if not it.exists()]
    for it in reversed(missing):
        it.mkdir(mode=0o700, exist_ok=True)
