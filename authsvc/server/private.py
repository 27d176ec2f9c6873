"""What only we may know: files that nobody else reads, an environment without our secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["environment", "sync_folder", "write_private"]

_OWN = "AUTHSVC_"


def write_private(path: Path, text: str) -> None:
    """Replace a file whole, readable by its owner only.

    Raises:
        OSError: It can't be written.
    """
    new = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def sync_folder(folder: Path) -> None:
    """See that a file's new name outlives a loss of power.

    Raises:
        OSError: It can't be.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for another program: ours without our settings, which hold secrets.

    Args:
        own: Our environment.
    """
    return {name: value for name, value in own.items() if not name.upper().startswith(_OWN)}
