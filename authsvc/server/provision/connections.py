"""The connections of an account, as nats-servers list them in the system account.

Source: nats-server, server/monitor.go (Connz, ConnInfo) and server/events.go (ACCOUNT requests).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from authsvc.server.provision.answers import Server, read_server
from authsvc.server.provision.census import Whose, credential_in, read_whose
from authsvc.server.provision.live_servers import LiveServers
from authsvc.server.provision.questions import Questions

__all__ = ["Connected", "Listed", "Page", "close_connection", "list_connections", "read_page"]

_PAGE = 512
"""Connections in one answer; each has its JWT in it, so that one answer is about a megabyte."""
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_MILLISECONDS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
_LONGEST_DURATION = 64
_OVERLAP = 8
"""Of a page, this part is in the next one too: what ends between the two moves others forward."""
_MOST_PAGES = 36
_SECONDS = 1.0
_CLOSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Connected:
    """A client that is connected now.

    Args:
        server: To which nats-server.
        cid: The connection's number there.
        public_key: The nkey it logged in with; empty where auth callout let it in by a token.
        credential_id: From its JWT's tag; empty if it has none.
        address: Where it came from.
        name: What it calls itself.
        language: Of its client library, with the version.
        kind: ``nats`` or ``websocket``.
        started_at: RFC 3339, to the nanosecond.
        active_at: When it last sent or got something, likewise.
        rtt_ms: The round trip, None before the first measurement.
        received: Messages that it sent to the server, and their bytes.
        sent: Messages that it got, and their bytes.
        subscriptions: How many it has.
        pending_bytes: What waits to be sent to it.
        whose: Its user, as nats-server checked it.
    """

    server: Server
    cid: int
    public_key: str
    credential_id: str
    address: str
    name: str
    language: str
    kind: str
    started_at: str
    active_at: str
    rtt_ms: float | None
    received: tuple[int, int]
    sent: tuple[int, int]
    subscriptions: int
    pending_bytes: int
    whose: Whose


@dataclass(frozen=True, slots=True)
class Page:
    """One server's answer: some of its connections, and how many it has of the account."""

    server: Server
    connections: list[Connected]
    total: int


@dataclass(frozen=True, slots=True)
class Listed:
    """What all servers said.

    Args:
        connections: In no order.
        answered: The servers that did.
        silent: Live servers that did not, or that have more than is asked for.
    """

    connections: list[Connected]
    answered: list[Server]
    silent: list[Server]


async def list_connections(
    questions: Questions, live: LiveServers, account: str, *, auth: bool = True
) -> Listed:
    """Ask every live server who is connected; of each at most some 16,000.

    Args:
        questions: To the servers, by the system user.
        live: The servers that are known.
        account: Public key of the account that is meant.
        auth: Whether to ask whose they are, which makes answers five times as large.
    """
    found: dict[tuple[str, int], Connected] = {}
    heard: dict[str, Server] = {}
    wanted = live.awake()
    stride = _PAGE - _PAGE // _OVERLAP
    for offset in range(0, _MOST_PAGES * stride, stride):
        pages: dict[str, Page] = {}

        def add(body: bytes, pages: dict[str, Page] = pages) -> None:
            page = read_page(body)
            if page is not None:
                pages[page.server.id] = page

        await questions.ask(
            f"$SYS.REQ.ACCOUNT.{account}.CONNZ",
            orjson.dumps({"auth": auth, "limit": _PAGE, "offset": offset, "sort": "cid"}),
            add,
            lambda wanted=wanted, pages=pages: wanted <= pages.keys(),  # type: ignore[misc]
            _SECONDS,
        )
        for key, page in pages.items():
            heard[key] = page.server
            found |= {(key, item.cid): item for item in page.connections}
        wanted = {key for key, page in pages.items() if page.total > offset + _PAGE}
        if not wanted:
            break
    silent = [it for it in live.servers() if it.id not in heard or it.id in wanted]
    return Listed(list(found.values()), list(heard.values()), silent)


async def close_connection(questions: Questions, server_id: str, cid: int) -> bool | None:
    """Have a server close a connection, whose client is not told why and may come back.

    Args:
        questions: To the servers, by the system user.
        server_id: Which server.
        cid: The connection's number there.

    Returns:
        Whether there was such a connection; None where the server did not answer.
    """
    answers: list[bytes] = []
    await questions.ask(
        f"$SYS.REQ.SERVER.{server_id}.KICK",
        orjson.dumps({"cid": cid}),
        answers.append,
        lambda: bool(answers),
        _CLOSE_SECONDS,
        settle=0,
    )
    if not answers or read_server(answers[0]) is None:
        return None
    return "error" not in orjson.loads(answers[0])


def read_page(body: bytes) -> Page | None:
    """A server's answer; None if it is none."""
    server = read_server(body)
    if server is None:
        return None
    data = orjson.loads(body).get("data")
    if not isinstance(data, dict):
        return None
    try:
        return Page(server, list(_read(server, data.get("connections"))), int(data.get("total", 0)))
    except (TypeError, ValueError, AttributeError, OverflowError):
        return None


def _read(server: Server, listed: object) -> Iterator[Connected]:
    for item in listed if isinstance(listed, list) else ():
        yield Connected(
            server=server,
            cid=int(item.get("cid", 0)),
            public_key=str(item.get("authorized_user", "")),
            credential_id=_credential(item),
            address=str(item.get("ip", "")),
            name=str(item.get("name", "")),
            language=f"{item.get('lang', '')} {item.get('version', '')}".strip(),
            kind=str(item.get("type", "nats")),
            started_at=str(item.get("start", "")),
            active_at=str(item.get("last_activity", "")),
            rtt_ms=_milliseconds(str(item.get("rtt", ""))),
            received=(int(item.get("in_msgs", 0)), int(item.get("in_bytes", 0))),
            sent=(int(item.get("out_msgs", 0)), int(item.get("out_bytes", 0))),
            subscriptions=int(item.get("subscriptions", 0)),
            pending_bytes=int(item.get("pending_bytes", 0)),
            whose=read_whose(item, item.get("authorized_user")),
        )


def _credential(item: dict[str, Any]) -> str:
    tags = item.get("tags")
    return (credential_in(tags) or "") if isinstance(tags, list) else ""


def _milliseconds(text: str) -> float | None:
    """Go's spelling of a duration, such as ``1.2ms`` or ``1m2s``."""
    parts = _DURATION.findall(text[:_LONGEST_DURATION])
    if not parts:
        return None
    return round(sum(float(number) * _MILLISECONDS[unit] for number, unit in parts), 3)
