"""The files of a restored service: made beside their places, and moved there at the very end."""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from authsvc.errors import Forbidden, StartRefused, StoreUnavailable
from authsvc.server.engines import parse_url
from authsvc.server.keystore.files import FILE, FORMER
from authsvc.server.private import sync_folder
from authsvc.server.settings import Settings

__all__ = ["Target"]

_PROBE_SECONDS = 1.0
_STAGED = ".restoring-"
_BESIDE = ("-wal", "-shm")
_MODE = 0o600


class Target:
    """Where a backup goes.

    Args:
        settings: Of the service that will run.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.data_dir
        url = parse_url(settings.database_url)
        self._database = Path(str(url.database)) if url.get_backend_name() == "sqlite" else None
        self._mark = f"{_STAGED}{secrets.token_hex(4)}"
        self._staged: dict[Path, Path] = {}
        self._made: list[Path] = []
        self.aside: list[Path] = []
        """What was there before, by the names that it has now."""

    def check(self, backup: Path | None, *, force: bool) -> None:
        """See that nothing would be lost.

        Args:
            backup: The backup's own file, which may lie there.
            force: Whether what is there may be set aside.

        Raises:
            Forbidden: Something is there, or a service runs on it.
        """
        self._refuse_running()
        if force:
            return
        found = [it for it in _entries(self._folder) if not _is(it, backup)]
        if self._database is not None and self._database.exists():
            found.append(self._database)
        if found:
            raise Forbidden(
                f"{self._folder} is not empty ({found[0].name} is there): name another data "
                "directory, or say --force, which sets database and master key aside under other "
                "names"
            )

    def _refuse_running(self) -> None:
        try:
            context: Any = json.loads((self._folder / "context.json").read_text())
            url = urlsplit(context["url"])
            address = (url.hostname or "127.0.0.1", url.port or 80)
            with socket.create_connection(address, timeout=_PROBE_SECONDS):
                pass
        except (OSError, ValueError, KeyError, TypeError):
            return
        raise Forbidden(f"a service runs on {self._folder}, at {context['url']}: stop it first")

    def begin(self) -> str:
        """Make the folders; returns the URL of the database to load into."""
        self._mkdir(self._folder)
        if self._database is None:
            return self._settings.database_url
        self._mkdir(self._database.parent)
        _sweep(self._folder)
        return f"sqlite:///{self._stage(self._database)}"

    def put_master_keys(self, keys: list[bytes]) -> None:
        """Write the files that the service will read them from."""
        for name, key in zip((FILE, FORMER), keys, strict=False):
            text = base64.b64encode(key) + b"\n"
            self._write(self._folder / name, text)

    def put(self, name: str, text: str) -> None:
        """Write another file of the data directory."""
        self._write(self._folder / name, text.encode())

    def commit(self) -> None:
        """Move everything to its place; the database first, because without a key it is closed.

        What has these places goes aside; a former master key that the backup has not, too.
        """
        for staged in self._staged.values():
            if staged.with_name(f"{staged.name}-wal").exists():
                raise StoreUnavailable(f"{staged} was not written to its end")
        stamp = time.strftime("before-%Y%m%dT%H%M%SZ", time.gmtime())
        for path in (*self._staged, *(self._folder / name for name in (FILE, FORMER))):
            if self._replaces(path):
                self._set_aside(path, stamp)
        for path, staged in self._staged.items():
            staged.replace(path)
        for folder in {path.parent for path in self._staged}:
            sync_folder(folder)
        self._staged.clear()
        self._made.clear()

    def discard(self) -> None:
        """Leave nothing of what was not committed."""
        for staged in self._staged.values():
            for suffix in ("", *_BESIDE):
                staged.with_name(staged.name + suffix).unlink(missing_ok=True)
        self._staged.clear()
        for folder in reversed(self._made):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()

    def _replaces(self, path: Path) -> bool:
        keys_come = self._folder / FILE in self._staged
        is_key = path in {self._folder / FILE, self._folder / FORMER}
        return path.exists() and (path in self._staged or (is_key and keys_come))

    def _set_aside(self, path: Path, stamp: str) -> None:
        for suffix in ("", *_BESIDE):
            old = path.with_name(path.name + suffix)
            if old.exists():
                new = path.with_name(f"{path.name}.{stamp}{suffix}")
                old.replace(new)
                if not suffix:
                    self.aside.append(new)

    def _write(self, path: Path, text: bytes) -> None:
        staged = self._stage(path)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _stage(self, path: Path) -> Path:
        self._staged[path] = staged = path.with_name(f".{path.name}{self._mark}")
        return staged

    def _mkdir(self, folder: Path) -> None:
        try:
            missing = [it for it in (folder, *folder.parents) if not it.exists()]
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartRefused(f"{folder} can't be made: {error.strerror}") from None
        self._made += reversed(missing)


def _entries(folder: Path) -> list[Path]:
    if not folder.exists():
        return []
    return sorted(
        it for it in folder.iterdir() if it.name != "lost+found" and _STAGED not in it.name
    )


def _is(path: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and path.samefile(other)


def _sweep(folder: Path) -> None:
    """Remove what a restore that was killed left."""
    for it in folder.iterdir():
        if it.name.startswith(".") and _STAGED in it.name and it.is_file():
            it.unlink()
