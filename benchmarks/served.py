"""``authsvc up`` in a process of its own, with a nats-server, for as long as a block lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.issue import SECRET

# nats-py imports aiohttp where it is installed, as it is with the extra "bench" and without it not.
_UP = "import sys; sys.modules['aiohttp'] = None; from authsvc.cli import main; main()"
_ANY_PORTS = ("--port", "0", "--nats-port", "0")


@dataclass(frozen=True, slots=True)
class Served:
    """The running service.

    Args:
        pid: Of the service itself, not of the nats-server below it.
        port: Of its API.
        seconds: From the start of the process to its line ``ready``.
    """

    pid: int
    port: int
    seconds: float


def database_url(folder: Path) -> str:
    """The SQLite file of a data directory."""
    return f"sqlite+aiosqlite:///{folder / 'authsvc.db'}"


@contextmanager
def up(folder: Path) -> Iterator[Served]:
    """Start it on a data directory, wait until it is ready, and end it.

    Raises:
        RuntimeError: It ended before it was ready.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("AUTHSVC_")}
    own["AUTHSVC_SYFTBOX_ACCESS_TOKEN_SECRET"] = SECRET
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _UP, "up", "--data-dir", str(folder), *_ANY_PORTS],
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = next((it for it in process.stdout if it.startswith("ready ")), None)
        if line is None:
            raise RuntimeError("authsvc up did not become ready")
        seconds = time.perf_counter() - began
        yield Served(process.pid, int(line.split()[1].rpartition(":")[2]), seconds)
    finally:
        process.terminate()
        process.communicate(timeout=30)
