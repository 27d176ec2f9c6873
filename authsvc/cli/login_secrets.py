"""The secrets of a login: in the system's keyring, or where there is none in a 0600 file.

    place = best_place(Kept.AUTO)
    place.write("default", Secrets(seed=key.seed, refresh_token=...))

keyring's own settings hold (PYTHON_KEYRING_BACKEND, keyringrc.cfg); it is slow to import, so that
happens here and late.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from authsvc.cli.login_profile import config_dir, read_private, write_private
from authsvc.errors import NotAuthenticated, StartRefused

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["Kept", "Place", "Secrets", "best_place", "place_named"]

_SERVICE = "authsvc login"
_NO_KEYRINGS = ("keyring.backends.fail", "keyring.backends.null")


class Kept(StrEnum):
    """Where secrets shall be kept."""

    AUTO = "auto"
    KEYRING = "keyring"
    FILES = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What must not be read by others.

    Args:
        seed: Of the nkey.
        refresh_token: Of SyftBox, exchanged for access tokens.
        access_token: The last one of those.
        identity: A token that may be used again and again, as that of the method ``dev``.
    """

    seed: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    access_token: str | None = field(default=None, repr=False)
    identity: str | None = field(default=None, repr=False)


class Place(Protocol):
    """Where secrets are kept."""

    name: Kept

    def read(self, context: str) -> Secrets:
        """The secrets of a context's login.

        Raises:
            NotAuthenticated: They are not there, or can't be had.
        """

    def write(self, context: str, secrets: Secrets) -> None:
        """Keep them.

        Raises:
            OSError: They can't be written.
            StartRefused: The keyring does not take them.
        """

    def remove(self, context: str) -> None:
        """Forget them."""

    def describe(self) -> str:
        """Where that is, for eyes."""


class _Files:
    name = Kept.FILES

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "secrets"

    def read(self, context: str) -> Secrets:
        path = self._path(context)
        try:
            return _read(json.dumps(read_private(path)))
        except FileNotFoundError:
            raise NotAuthenticated(f"{path} is gone; log in again: authsvc login") from None

    def write(self, context: str, secrets: Secrets) -> None:
        write_private(self._path(context), _text(secrets) + "\n")

    def remove(self, context: str) -> None:
        self._path(context).unlink(missing_ok=True)

    def describe(self) -> str:
        return f"files that only you can read, in {self._folder}"

    def _path(self, context: str) -> Path:
        return self._folder / f"{context}.json"


class _Keyring:
    name = Kept.KEYRING

    def __init__(self, backend: KeyringBackend, folder: Path) -> None:
        self._backend = backend
        # Another configuration directory is another person's, or a test's.
        self._service = f"{_SERVICE} ({folder})"

    def read(self, context: str) -> Secrets:
        from keyring.errors import KeyringError  # noqa: PLC0415

        try:
            text = self._backend.get_password(self._service, context)
        except KeyringError as error:
            raise NotAuthenticated(
                f"the keyring can't be read ({error}): unlock it, or log in again with --keep files"
            ) from None
        if text is None:
            raise NotAuthenticated("the keyring has no such login; log in again: authsvc login")
        return _read(text)

    def write(self, context: str, secrets: Secrets) -> None:
        from keyring.errors import KeyringError  # noqa: PLC0415

        try:
            self._backend.set_password(self._service, context, _text(secrets))
        except KeyringError as error:
            raise StartRefused(
                f"the keyring does not take the login ({error}): unlock it, or use --keep files"
            ) from None

    def remove(self, context: str) -> None:
        from contextlib import suppress  # noqa: PLC0415

        from keyring.errors import KeyringError  # noqa: PLC0415

        with suppress(KeyringError):
            self._backend.delete_password(self._service, context)

    def describe(self) -> str:
        return f"the keyring ({self._backend.name})"


def best_place(kept: Kept, folder: Path | None = None) -> Place:
    """Where a new login's secrets go: the keyring where there is one, else files.

    Raises:
        StartRefused: It must be the keyring, and there is none.
    """
    folder = folder or config_dir()
    backend = None if kept is Kept.FILES else _backend()
    if backend is not None:
        return _Keyring(backend, folder)
    if kept is Kept.KEYRING:
        raise StartRefused("there is no keyring on this machine; --keep files uses 0600 files")
    return _Files(folder)


def place_named(name: str, folder: Path | None = None) -> Place:
    """Where a login that exists keeps its secrets.

    Raises:
        NotAuthenticated: In a keyring, and there is none now.
    """
    try:
        return best_place(Kept.KEYRING if name == Kept.KEYRING else Kept.FILES, folder)
    except StartRefused:
        raise NotAuthenticated(
            "the login is kept in a keyring, and there is none now: start it, or log in again"
        ) from None


def _backend() -> KeyringBackend | None:
    try:
        import keyring  # noqa: PLC0415 - slow to import
    except ImportError:
        return None
    found = keyring.get_keyring()
    return None if type(found).__module__ in _NO_KEYRINGS else found


def _text(secrets: Secrets) -> str:
    return json.dumps({name: value for name, value in asdict(secrets).items() if value})


def _read(text: str) -> Secrets:
    try:
        data = json.loads(text)
        return Secrets(**{it.name: data[it.name] for it in fields(Secrets) if it.name in data})
    except (ValueError, TypeError):
        raise NotAuthenticated("what is kept is no login of authsvc's; log in again") from None
