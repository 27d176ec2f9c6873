"""The nats-server that runs as our child: started, watched, started again, stopped with us.

    supervisor = Supervisor(binary.path, config, data_dir=folder, log_path=log, listeners=[...])
    await supervisor.start()       # returns when it answers on its port
    ...
    await supervisor.stop()

It ends with us even when we are killed (``guard.py``). Its standard error is kept beside the
log until the log is open, so that a refused configuration can be shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from authsvc.errors import StartRefused
from authsvc.server import private
from authsvc.server.provision import collection, guard
from authsvc.server.provision.ports import Listener, ensure_free
from authsvc.server.provision.stale import Claim, end_stale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["State", "Supervisor"]

PID_FILE = "nats-server.pid"
ERROR_FILE = "nats-server.stderr"

_POLL_SECONDS = 0.02
_STOP_SECONDS = 10.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_STEADY_SECONDS = 30.0
_SHOWN_LINES = 12
_TAIL_BYTES = 16384
_SECRETS = re.compile(r"\bS[A-Z][A-Z2-7]{56}\b|\beyJ[\w-]+\.[\w-]+\.[\w-]+|//[^/\s@]+@")

log = logging.getLogger(__name__)


class State(StrEnum):
    """What the supervised nats-server is doing."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"


class Supervisor:
    """Runs one nats-server and keeps it running.

    Args:
        binary: The program.
        config: Its configuration file.
        text: What to write into it, once the folder is ours; it is there already if None.
        data_dir: A folder of this nats-server's own; made if it is missing.
        log_path: Its log file.
        listeners: What it will listen on; the first is for NATS clients.
        ready_seconds: How long it may take to answer without a word in its log: reading
            thousands of streams takes minutes, and it tells of each.
        kernel_guard: Whether the kernel can be asked to end it with us; else a process watches.
    """

    def __init__(
        self,
        binary: Path,
        config: Path,
        *,
        text: str | None = None,
        data_dir: Path,
        log_path: Path,
        listeners: Sequence[Listener],
        ready_seconds: float = 30.0,
        kernel_guard: bool = sys.platform == "linux",
    ) -> None:
        self._binary = binary
        self._config = config
        self._text = text
        self._data_dir = data_dir
        self._log_path = log_path
        self._listeners = list(listeners)
        self._ready_seconds = ready_seconds
        self._kernel_guard = kernel_guard
        self._claim = Claim(data_dir)
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._log_start = 0
        self.state = State.STOPPED
        self.restarts = 0
        """How often it was started again since ``start``."""
        self.on_exit: list[Callable[[int], None]] = []
        """Called with the exit status each time it ends unasked."""

    @property
    def pid(self) -> int | None:
        """The process that was started; None while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    @property
    def errors_path(self) -> Path:
        """Where its standard error goes."""
        return self._data_dir / ERROR_FILE

    async def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            PortTaken: Another process listens where it should.
            StartRefused: It does not start; the message shows the end of its log.
        """
        if self._task is not None:
            return
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._claim.take()
        try:
            pid = await end_stale(self._data_dir / PID_FILE, self._config)
            if pid is not None:
                log.warning("ended a nats-server of an earlier run, pid %d", pid)
            ensure_free(self._listeners)
            if self._text is not None:
                private.write_private(self._config, self._text)
            self.state = State.STARTING
            await self._spawn()
            await self._until_ready()
        except BaseException:
            await self._end()
            self._claim.release()
            self.state = State.STOPPED
            raise
        self.state = State.RUNNING
        self.restarts = 0
        self._task = asyncio.create_task(self._watch(), name="nats-server supervisor")

    async def stop(self) -> None:
        """Stop it; returns when it has ended."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._end()
        self._claim.release()
        self.state = State.STOPPED

    def reload(self) -> None:
        """Let it read its configuration and certificates again; connections stay."""
        with contextlib.suppress(OSError, ValueError):
            # Not the process that was started, which may be one that watches it.
            os.kill(int((self._data_dir / PID_FILE).read_text()), signal.SIGHUP)

    async def _watch(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            if self._process is not None:
                since = time.monotonic()
                status = await self._process.wait()
                log.error("nats-server ended with status %d: %s", status, self._last_lines(3))
                # One that ran for long deserves a fresh start; one that dies at once does not.
                if time.monotonic() - since > _STEADY_SECONDS:
                    pause = _SHORTEST_PAUSE
                for hook in self.on_exit:
                    hook(status)
            self.state = State.WAITING
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            await self._restart()

    async def _restart(self) -> None:
        self.restarts += 1
        self.state = State.STARTING
        try:
            await self._spawn()
            await self._until_ready()
            self.state = State.RUNNING
        except (OSError, StartRefused) as error:
            log.error("nats-server does not come back: %s", error)  # noqa: TRY400
            await self._end()

    async def _spawn(self) -> None:
        self._log_start = _size(self._log_path)
        command = [
            sys.executable, "-I", "-S", str(Path(guard.__file__)),
            "kernel" if self._kernel_guard else "pipe", str(os.getpid()),
            str(self._binary), "-c", str(self._config),
            "-P", str(self._data_dir / PID_FILE), "-l", str(self._log_path),
        ]  # fmt: skip
        with self.errors_path.open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                # The guard without the kernel reads its end as ours. nats-server reads nothing.
                stdin=asyncio.subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                # A Ctrl-C in the terminal is for us: we stop it after its clients.
                start_new_session=True,
                env=collection.environment(),
            )

    async def _until_ready(self) -> None:
        first = self._listeners[0]
        written, deadline = -1, 0.0
        while not await _answers(first.host, first.port):
            if (size := _size(self._log_path)) != written:
                written, deadline = size, time.monotonic() + self._ready_seconds
            if self._process is None or self._process.returncode is not None:
                raise StartRefused(
                    f"nats-server ended at once. Its last words:\n{self._last_lines()}"
                )
            if time.monotonic() > deadline:
                raise StartRefused(
                    f"nats-server does not answer on {first.host}:{first.port}, and has "
                    f"written nothing for {self._ready_seconds:g} s. Its log ends with:\n"
                    f"{self._last_lines()}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("nats-server does not stop; it is killed")
            with contextlib.suppress(ProcessLookupError):
                if self._kernel_guard:
                    process.kill()
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()
        # The transport would complain if the loop closed before it did.
        if process.stdin is not None:
            process.stdin.close()

    def _last_lines(self, count: int = _SHOWN_LINES) -> str:
        """The end of what this run wrote, without anything that looks like a secret."""
        text = _tail(self.errors_path, 0) + _tail(self._log_path, self._log_start)
        lines = [line for line in text.splitlines() if line.strip()]
        return _SECRETS.sub("[hidden]", "\n".join(lines[-count:])) or "(nothing)"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tail(path: Path, start: int) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # Rotated in between: everything in the file is new.
            begin = start if start <= size else 0
            file.seek(max(begin, size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


async def _answers(host: str, port: int) -> bool:
    """Whether a NATS server greets there."""
    place = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(place, port)
            try:
                return (await reader.readline()).startswith(b"INFO ")
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, ValueError, TimeoutError):
        return False
