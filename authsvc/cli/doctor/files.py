"""The data directory: modes, the disk, locks, and what was left behind."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import time
from pathlib import Path

from authsvc.cli.doctor.finding import Finding, fail, good, warn
from authsvc.cli.own_dir import LOCK
from authsvc.server.keystore import files as key_files
from authsvc.server.provision.stale import NATS_LOCK, Claim, left_behind
from authsvc.server.provision.supervisor import PID_FILE

__all__ = ["data_dir_findings", "lock_findings"]

_SECRET = ("master.key", "master.key.previous", "context.json")
_PRIVATE = ("authsvc.db", "authsvc.db-wal", "authsvc.db-shm")
_LOW_BYTES, _LOWEST_BYTES = 1 << 30, 100 << 20
_DRAFT_SECONDS = 60


def data_dir_findings(data_dir: Path) -> list[Finding]:
    """The directory, the modes of what lies in it, and the room on its disk."""
    found = _modes(data_dir)
    if not found:
        found = [good("files", f"{data_dir}: only you can read what is secret")]
    free = shutil.disk_usage(data_dir).free
    told = f"{free / (1 << 30):.1f} GiB free"
    if free < _LOWEST_BYTES:
        found.append(fail("disk", told, "make room: the database can't be written soon"))
    elif free < _LOW_BYTES:
        found.append(warn("disk", told, "make room"))
    else:
        found.append(good("disk", told))
    return found + _left(data_dir)


def _modes(data_dir: Path) -> list[Finding]:
    found = []
    if (mode := _mode(data_dir)) & 0o022:
        told = f"others can write into {data_dir} (mode {mode:04o})"
        found.append(fail("files", told, f"chmod 700 {_quoted(data_dir)}"))
    for name in (*_SECRET, *_PRIVATE):
        path = data_dir / name
        if not path.exists():
            continue
        if (mode := _mode(path)) & 0o077:
            told = f"others can read {path} (mode {mode:04o})"
            rank = fail if name in _SECRET else warn
            found.append(rank("files", told, f"chmod 600 {_quoted(path)}"))
        if path.stat().st_uid != os.geteuid() and os.geteuid() != 0:
            told = f"{path} belongs to another user"
            found.append(warn("files", told, "run this as the user that the service runs as"))
    return found


def _left(data_dir: Path) -> list[Finding]:
    """What a change that stopped halfway left."""
    found = []
    if (data_dir / key_files.FORMER).exists():
        told = "a change of the master key stopped halfway"
        mend = f"authsvc key rotate-master --data-dir {_quoted(data_dir)}"
        found.append(warn("master key", told, mend))
    drafts = [*data_dir.glob("*.new"), *data_dir.glob(f".{key_files.FILE}*.*")]
    old = [it for it in drafts if time.time() - it.stat().st_mtime > _DRAFT_SECONDS]
    for path in old:
        told = f"{path} was left by a write that broke off"
        found.append(warn("files", told, f"rm {_quoted(path)}"))
    return found


def lock_findings(data_dir: Path, *, answers: bool | None) -> list[Finding]:
    """Whether one `authsvc up` runs here, and whether an earlier one left something running.

    Args:
        data_dir: The directory.
        answers: Whether the service answers; None where nobody knows where it is.
    """
    folder = data_dir / "nats"
    holding = _held_by(data_dir / LOCK) or _held_by(folder / NATS_LOCK)
    if holding is not None:
        if answers is False:
            told = f"`authsvc up` (pid {holding}) holds {data_dir} and does not answer"
            return [fail("locks", told, f"kill {holding}, then start `authsvc up` again")]
        return [good("locks", f"`authsvc up` (pid {holding}) runs here")]
    pid = left_behind(folder / PID_FILE, folder / "nats-server.conf")
    if pid is not None:
        told = f"a nats-server (pid {pid}) of an earlier run is still there"
        return [warn("locks", told, f"kill {pid}; the next `authsvc up` ends it too")]
    return [good("locks", "nobody holds the data directory")]


def _held_by(path: Path) -> str | None:
    """The process that holds a lock; None where it is free."""
    if not path.exists():
        return None
    owner = path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    return owner if Claim.is_held(path) else None


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
