"""The product as its users start it, ``authsvc up``, for benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import children

__all__ = ["Up", "started"]

# nats-py imports aiohttp where it is installed, as it is with the extra "bench" and without it not.
_UP = "import sys; sys.modules['aiohttp'] = None; from authsvc.cli import main; main()"
_ANY_PORTS = ("--port", "0", "--nats-port", "0")


@dataclass
class Up:
    """``authsvc up``, ready.

    Args:
        folder: Its data directory.
        process: The service itself, above its nats-server.
        seconds: From the start of the process to its line ``ready``.
    """

    folder: Path
    process: subprocess.Popen[str]
    seconds: float

    def __post_init__(self) -> None:
        context = json.loads((self.folder / "context.json").read_text())
        self.url: str = context["url"]
        self.api_key: str = context["api_key"]
        self.nats_url: str = context["nats_url"]
        self.port = int(self.url.rpartition(":")[2])

    @property
    def database_url(self) -> str:
        """Its SQLite file."""
        return f"sqlite+aiosqlite:///{self.folder / 'authsvc.db'}"

    @property
    def pid(self) -> int:
        """Of the service."""
        return self.process.pid

    @property
    def nats_pid(self) -> int:
        """Of its nats-server, which is a new one after it died."""
        for pid in children(self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
                if Path(f"/proc/{pid}/comm").read_text() == "nats-server\n":
                    return pid
        raise ProcessLookupError("nats-server")


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Up]:
    """Start it in a folder, and end it.

    Args:
        folder: Its data directory.
        settings: Of the service, by their names in small letters.

    Raises:
        RuntimeError: It ended before it was ready.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("AUTHSVC_")}
    own |= {f"AUTHSVC_{name.upper()}": value for name, value in settings.items()}
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
        if not any(line.startswith("ready ") for line in process.stdout):
            raise RuntimeError("authsvc up did not become ready")
        yield Up(folder, process, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(60)
