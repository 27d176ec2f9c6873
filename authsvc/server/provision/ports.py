"""Loopback and other ports: choose free ones, and say who holds a taken one.

port = choose_port("127.0.0.1", 0)
ensure_free([Listener("NATS clients", "127.0.0.1", port)])
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import NamedTuple

from authsvc.errors import PortTaken

__all__ = ["Listener", "choose_port", "ensure_free", "holder"]

_LOWEST, _HIGHEST = 15000, 32767
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LISTENING = "0A"


class Listener(NamedTuple):
    """Something that is going to listen.

    Args:
        name: What it is, for messages, such as ``NATS clients``.
        host: The address it binds.
        port: The TCP port.
        option: What chooses it, for messages, such as ``--nats-port``.
    """

    name: str
    host: str
    port: int
    option: str = ""


def choose_port(host: str, port: int = 0, *, prefer: int | None = None) -> int:
    """A port to listen on.

    Args:
        host: The address that will be bound.
        port: The port that was asked for; any free one if 0.
        prefer: Of the free ones, the one to take where it is free: the one used last time.

    Raises:
        PortTaken: No port is free.
    """
    if port:
        return port
    if prefer and _is_free(host, prefer):
        return prefer
    # Below the range from which the system gives outgoing connections their ports: another
    # program's connection could sit on a port of that range while nats-server restarts, and a
    # client that reconnects to it could even reach itself.
    lowest, highest = _quiet_range()
    for _ in range(200):
        candidate = lowest + secrets.randbelow(highest - lowest + 1)
        if _is_free(host, candidate):
            return candidate
    raise PortTaken(f"No port from {lowest} to {highest} seems free on {host}; name one.")


def ensure_free(listeners: list[Listener]) -> None:
    """Check that all can be bound now.

    Raises:
        PortTaken: One is taken; the message names the port and, where it can, the process.
    """
    ports: dict[int, Listener] = {}
    for listener in listeners:
        other = ports.setdefault(listener.port, listener)
        if other is not listener:
            raise PortTaken(
                f"Port {listener.port} is wanted for {other.name} and for {listener.name}. "
                f"Choose another port for one of them{_with(listener, other)}."
            )
        if not _is_free(listener.host, listener.port):
            who = holder(listener.port) or "another process"
            raise PortTaken(
                f"Port {listener.port} on {listener.host}, wanted for {listener.name}, is taken "
                f"by {who}. Stop it, or choose another port{_with(listener)}."
            )


def _with(*listeners: Listener) -> str:
    options = " or ".join(it.option for it in listeners if it.option)
    return f" with {options} (0 for any free one)" if options else " (0 for any free one)"


def _quiet_range() -> tuple[int, int]:
    try:
        first = int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LOWEST, _HIGHEST
    return (_LOWEST, min(first - 1, _HIGHEST)) if first > _LOWEST + 1000 else (_LOWEST, _HIGHEST)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As nats-server does: without it, connections that ended lately look like a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """Who listens on the port, such as ``postgres (pid 42)``; None where it can't be told.

    It can be told on Linux, of processes of the same user.
    """
    inodes = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in _rows(Path(table))
        if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    if not wanted:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return None


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text().splitlines()[1:]]
    except OSError:
        return []
