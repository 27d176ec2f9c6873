"""One nats-server per data folder: a lock for who supervises it, and the end of what was left.

with Claim(folder): ...                       # StartRefused where another holds it
await end_stale(pid_file, config_path)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import anyio

from authsvc.errors import StartRefused

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["NATS_LOCK", "Claim", "end_stale", "left_behind"]

_POLL_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0
NATS_LOCK = "nats-server.lock"


class Claim:
    """The right to run a nats-server in a folder; ends with the process that holds it.

    Args:
        folder: The data folder.
        lock: The lock file's name, for a claim of another kind.
        deed: What whoever holds it does there, for the message.
        advice: What to do where another process has it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lock: str = NATS_LOCK,
        deed: str = "runs nats-server in",
        advice: str = "Stop it, or choose another data folder.",
    ) -> None:
        self._path = folder / lock
        self._said = deed, advice
        self._file: int | None = None

    def take(self) -> None:
        """Take it.

        Raises:
            StartRefused: Another process has it.
        """
        # Not inherited by nats-server, so the claim never outlives the supervisor.
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(file)
        except OSError as error:
            owner = os.read(file, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(file)
            deed, advice = self._said
            raise StartRefused(
                f"Another authsvc (pid {owner}) {deed} {self._path.parent}. {advice}"
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a process holds a lock file now; the file itself is left as it is."""
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            _lock(file)
        except OSError:
            return True
        finally:
            os.close(file)
        return False

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.release()


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415  Windows only

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415  not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def end_stale(pid_file: Path, config_path: Path) -> int | None:
    """End the nats-server that an earlier run left behind. The folder must be claimed.

    Args:
        pid_file: Where nats-server wrote its process id.
        config_path: The configuration it would run; a process without it is left alone.

    Returns:
        The process id of what was ended, None if nothing was there.

    Raises:
        StartRefused: It can't be ended.
    """
    pid = left_behind(pid_file, config_path)
    if pid is None:
        return None
    for name in ("SIGTERM", "SIGKILL"):
        try:
            os.kill(pid, getattr(signal, name, signal.SIGTERM))
        except ProcessLookupError:
            return pid
        except PermissionError as error:
            raise StartRefused(_stuck(pid, config_path)) from error
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if not _runs(pid, config_path):
                return pid
            await anyio.sleep(_POLL_SECONDS)
    raise StartRefused(_stuck(pid, config_path))


def left_behind(pid_file: Path, config_path: Path) -> int | None:
    """The nats-server that an earlier run left running; None where there is none.

    Args:
        pid_file: Where nats-server wrote its process id.
        config_path: The configuration it would run.
    """
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    return pid if pid > 1 and _runs(pid, config_path) else None


def _stuck(pid: int, config_path: Path) -> str:
    return (
        f"A nats-server of an earlier run (pid {pid}) still uses {config_path} and can't be ended. "
        f"End it, for example with: kill -9 {pid}"
    )


def _runs(pid: int, config_path: Path) -> bool:
    """Whether the process is a nats-server with this configuration."""
    words = _command(pid)
    # Its process id may be another program's by now, so both have to fit.
    return bool(words) and "nats-server" in Path(words[0]).name and str(config_path) in words[1:]


def _command(pid: int) -> list[str]:
    if Path("/proc/self/cmdline").exists():
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return []
        return raw.decode("utf-8", "surrogateescape").rstrip("\x00").split("\x00") if raw else []
    done = subprocess.run(  # noqa: S603  nothing of it comes from outside
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],  # noqa: S607  where it is differs
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()
