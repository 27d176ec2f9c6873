"""How many connections a user may have at once, over all nats-servers; the newest above go.

    limit = ConnectionLimit(resolver, people_account, 20, told)     # before resolver.connect()
    limit.start()

A user JWT can't say it, so connections are counted here: from the events that nats-servers send
in the system account, and from a listing at the start, after each new connection of the system
user, and once a minute for what was lost. Only a user with too many costs a question: which
servers are there. A server that crashed told of no ends, and what was on it is counted no more.

Every replica does it. All choose the same connections, and closing one twice harms nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from authsvc.errors import AuthsvcError
from authsvc.server import metrics
from authsvc.server.provision.census import Census, Key, Presence, read_event, read_moment
from authsvc.server.provision.tasks import end

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from authsvc.server.provision.connections import Listed
    from authsvc.server.provision.resolver import Resolver

__all__ = ["ConnectionLimit"]

Told = Callable[[str, int, int], Awaitable[None]]
"""Takes the name in subjects, how many connections there were, and how many were closed."""

_SETTLE_SECONDS = 0.15
"""An end may be told a little later than the beginning that came after it."""
_AGAIN_SECONDS = 1.0
_LIST_SECONDS = 60.0
_AT_ONCE = 64

log = structlog.get_logger("authsvc.connections")


class ConnectionLimit:
    """Closes what is too much.

    Args:
        resolver: The way to nats-servers; not connected yet.
        account: Public key of the people's account.
        limit: How many connections a user may have.
        told: Told of each user whose connections this replica closed.
    """

    def __init__(self, resolver: Resolver, account: str, limit: int, told: Told) -> None:
        self._resolver = resolver
        self._account = account
        self._told = told
        self.census = Census(limit)
        self._wake = asyncio.Event()
        self._list_at = 0.0
        self._whole = True
        self._telling: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        resolver.listen(f"$SYS.ACCOUNT.{account}.CONNECT", self._on_connect)
        resolver.listen(f"$SYS.ACCOUNT.{account}.DISCONNECT", self._on_disconnect)
        resolver.on_open(self._list_soon)
        resolver.on_server(lambda _server: self._list_soon())

    def start(self) -> None:
        """Begin; it goes on in the background."""
        self._task = asyncio.create_task(self._keep(), name="authsvc-connection-limit")

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            await end([self._task, *self._telling])

    async def _on_connect(self, message: Msg) -> None:
        found = read_event(message.data, time.monotonic())
        if found is not None and self.census.came(*found):
            self._wake.set()

    async def _on_disconnect(self, message: Msg) -> None:
        found = read_event(message.data, time.monotonic())
        if found is not None:
            self.census.left(found[0], time.monotonic())

    def _list_soon(self) -> None:
        self._list_at = 0.0
        self._wake.set()

    async def _keep(self) -> None:
        while True:
            try:
                await self._turn()
            except AuthsvcError as error:
                log.warning("connections not counted", error=str(error))
            except Exception as error:
                log.exception("connections not counted", error=type(error).__name__)
            left = self._list_at - time.monotonic()
            if self.census.over or not self._resolver.connected:
                left = _AGAIN_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_AGAIN_SECONDS, left)):
                    await self._wake.wait()
            self._wake.clear()

    async def _turn(self) -> None:
        if self._resolver.connected and time.monotonic() >= self._list_at:
            await self._list()
        if self._resolver.connected and self.census.over:
            await asyncio.sleep(_SETTLE_SECONDS)
            # Who answers no more has nobody connected, or nobody who could be told.
            await self._resolver.servers()
            await self._enforce()

    async def _list(self) -> None:
        """Ask who is connected; whose connections those are only where one is not known."""
        self._list_at = time.monotonic() + _LIST_SECONDS
        for auth in (True,) if self._whole else (False, True):
            began = time.monotonic()
            listed = await self._resolver.connections(self._account, auth=auth)
            if not listed.answered:
                self._list_at = 0.0
                return
            silent = {server.id for server in listed.silent}
            if self.census.settle(_presences(listed, auth=auth), silent, began):
                break
        self._whole = False

    async def _enforce(self) -> None:
        awake = self._resolver.awake()
        for user in list(self.census.over):
            excess = self.census.excess(user, awake, time.monotonic())
            if not excess:
                continue
            number, closed = self.census.count(user), 0
            for at in range(0, len(excess), _AT_ONCE):
                answers = await asyncio.gather(*map(self._close, excess[at : at + _AT_ONCE]))
                closed += sum(answers)
            if closed:
                log.info("too many connections", user=user, number=number, closed=closed)
                self._tell(user, number, closed)

    def _tell(self, user: str, number: int, closed: int) -> None:
        """Let it be written down; a database that is slow holds up no limit."""
        if len(self._telling) < _AT_ONCE:
            task = asyncio.create_task(self._say(user, number, closed))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _say(self, user: str, number: int, closed: int) -> None:
        try:
            await self._told(user, number, closed)
        except AuthsvcError as error:
            log.warning("not in the audit", user=user, error=str(error))

    async def _close(self, key: Key) -> bool:
        """Close a connection; whether this replica did. Without an answer it is tried again."""
        closed = await self._resolver.kick(key.server_id, key.cid)
        if closed is not None:
            self.census.left(key, time.monotonic())
        if closed:
            metrics.KICKED.inc()
        return bool(closed)


def _presences(listed: Listed, *, auth: bool) -> dict[Key, Presence | None]:
    now = time.monotonic()
    return {
        Key(it.server.id, it.cid): (
            Presence(it.whose, read_moment(it.started_at), now) if auth else None
        )
        for it in listed.connections
    }
