"""Three nats-servers, each with a network of its own, whose cable can be pulled.

    seen = await played("tests.faults.partition", folder)

It has to be started in namespaces of its own, as ``played`` does; then it needs no more rights
than any user has. Where there are none, the servers are on loopback, and stop (SIGSTOP) when they
are cut.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson

from authsvc.server.provision.binary import find_nats_server

__all__ = ["BRIDGE", "Host", "may_be_apart", "played", "start_network"]

BRIDGE = "10.77.0.1"
_ROOT = Path(__file__).parents[2]
_APART = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_SECONDS = 120


_WAY = _APART if os.geteuid() == 0 else [*_APART, "--user", "--map-root-user"]


async def may_be_apart() -> bool:
    """Whether namespaces are to be had here."""
    trial = await asyncio.create_subprocess_exec(*_WAY, "true", stderr=subprocess.DEVNULL)
    return await trial.wait() == 0


async def played(module: str, folder: Path, *more: str) -> dict[str, Any]:
    """Run a module in namespaces of its own; what it prints.

    Args:
        module: Called with a folder, ``apart`` where it has namespaces or else ``together``, and
            what more there is.
        folder: For its files.
        more: Whatever else it has to know.
    """
    possible = await may_be_apart()
    if possible:
        assert shutil.which("ip"), "the tests need ip: apt-get install iproute2"
    process = await asyncio.create_subprocess_exec(
        *(_WAY if possible else []),
        *(sys.executable, "-m", module, str(folder), "apart" if possible else "together", *more),
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-6000:]
    # Beside it stand lines of the log, some of them after it.
    (line,) = [it for it in out.splitlines() if it.startswith(b"{")]
    found: dict[str, Any] = orjson.loads(line)
    return found


class Host:
    """A machine with one nats-server, and a cable to the others and to the service.

    Args:
        number: From 1.
        folder: For the server's files.
        apart: Whether it has a network namespace.
    """

    def __init__(self, number: int, folder: Path, *, apart: bool) -> None:
        self.name = f"n{number}"
        self.folder = folder / self.name
        self.apart = apart
        self.address = f"10.77.0.{10 + number}" if apart else "127.0.0.1"
        self.port, self.route_port = (4222, 6222) if apart else (_free(), _free())
        self.url = f"nats://{self.address}:{self.port}"
        self._holder: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def plug_in(self) -> None:
        """Make its network."""
        if not self.apart:
            return
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
        deadline = time.monotonic() + 10
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self._holder.pid}/ns/net").readlink() == own:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        _ip("link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns",
            str(self._holder.pid))  # fmt: skip
        _ip("link", "set", self.name, "master", "br0", "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            subprocess.run([*self.inside(), "ip", *words], check=True)

    def inside(self) -> list[str]:
        """What to begin a command with that shall run on this machine."""
        if self._holder is None:
            return []
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net"]

    def start(self, config: str) -> None:
        """Start the server."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "nats-server.conf"
        path.write_text(config)
        with (self.folder / "log").open("wb") as log:
            self._server = subprocess.Popen(
                [*self.inside(), str(find_nats_server().path), "-c", str(path)],
                stdout=log,
                stderr=log,
            )

    def cut(self) -> None:
        """Pull the cable."""
        if self.apart:
            _ip("link", "set", self.name, "down")
        elif self._server is not None:
            self._server.send_signal(signal.SIGSTOP)

    def heal(self) -> None:
        """Put it in again."""
        if self.apart:
            _ip("link", "set", self.name, "up")
        elif self._server is not None:
            self._server.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        for process in (self._server, self._holder):
            if process is not None:
                process.kill()
                process.wait(20)


def start_network(*, apart: bool) -> None:
    """Make the switch that all cables end in, and loopback."""
    if apart:
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "br0", "type", "bridge")
        _ip("addr", "add", f"{BRIDGE}/24", "dev", "br0")
        _ip("link", "set", "br0", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
