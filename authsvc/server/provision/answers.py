"""What nats-servers say in the system account.

Source: nats-server, server/events.go (ServerInfo) and server/accounts.go (respondToUpdate).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from authsvc.server.metrics import NatsStatistics

__all__ = [
    "Answer",
    "Room",
    "Server",
    "read_answer",
    "read_list",
    "read_operator",
    "read_server",
    "read_statistics",
]

_OK = 200


@dataclass(frozen=True, slots=True)
class Room:
    """A server's room for streams on its disk, in bytes.

    Args:
        most: What it may use.
        used: What is used.
        reserved: What is set aside for streams that there are.
    """

    most: int
    used: int
    reserved: int


@dataclass(frozen=True, slots=True)
class Server:
    """A live nats-server.

    Args:
        id: New at each of its starts.
        name: As configured.
        version: Such as ``2.15.1``.
        clock: Its time when it said so, in seconds since the epoch; None where it did not.
        room: For streams; None where it did not say, or has no JetStream.
    """

    id: str
    name: str
    version: str
    # These change from one answer to the next, and it is the same server.
    clock: float | None = field(default=None, compare=False)
    room: Room | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one live server said to a push.

    Args:
        server_id: The server.
        name: Its name.
        applied: Whether it took the JWT.
        error: Why not, None if it did.
    """

    server_id: str
    name: str
    applied: bool
    error: str | None = None


def read_answer(body: bytes) -> Answer | None:
    """A server's answer to a push; None if it is none."""
    found = _object(body)
    server = read_server(body)
    if found is None or server is None:
        return None
    data, error = found.get("data"), found.get("error")
    if isinstance(data, dict) and data.get("code") == _OK and error is None:
        return Answer(server.id, server.name, applied=True)
    text = error.get("description") if isinstance(error, dict) else None
    return Answer(server.id, server.name, applied=False, error=str(text or "refused"))


def read_server(body: bytes) -> Server | None:
    """The server that sent it; None if it does not say."""
    found = _object(body)
    server = found.get("server") if found else None
    if not isinstance(server, dict) or not isinstance(server.get("id"), str):
        return None
    return Server(
        server["id"],
        str(server.get("name", "")),
        str(server.get("ver", "")),
        _moment(server.get("time")),
        _room((found or {}).get("statsz")),
    )


def read_statistics(body: bytes) -> NatsStatistics | None:
    """What a server says of itself every ten seconds; None if it is something else."""
    found: Any = (_object(body) or {}).get("statsz")
    try:
        return NatsStatistics(
            connections=int(found["connections"]),
            subscriptions=int(found["subscriptions"]),
            received=(int(found["received"]["msgs"]), int(found["received"]["bytes"])),
            sent=(int(found["sent"]["msgs"]), int(found["sent"]["bytes"])),
            slow_consumers=int(found["slow_consumers"]),
            cpu=float(found["cpu"]),
            memory=int(found["mem"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def read_operator(body: bytes) -> str:
    """The operator JWT that a server was started with, from its VARZ; empty if it says none."""
    data = (_object(body) or {}).get("data")
    jwts = data.get("trusted_operators_jwt") if isinstance(data, dict) else None
    return str(jwts[0]) if isinstance(jwts, list) and jwts else ""


def read_list(body: bytes) -> frozenset[str]:
    """The account keys in a server's answer to ``$SYS.REQ.CLAIMS.LIST``."""
    found = _object(body)
    data = found.get("data") if found else None
    listed = data if isinstance(data, list) else []
    return frozenset(item for item in listed if isinstance(item, str))


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return None


def _room(statistics: object) -> Room | None:
    """The room in a server's statistics; every answer without JetStream lacks it."""
    try:
        jetstream: Any = statistics["jetstream"]  # type: ignore[index]
        stats = jetstream["stats"]
        return Room(
            int(jetstream["config"]["max_storage"]),
            int(stats["storage"]),
            int(stats["reserved_storage"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
