"""Who is connected, over all nats-servers, and who of them has to go.

    attendance = Attendance(resolver, people_account, 20, events, read)    # before connect()
    attendance.start()

Two have to go. A user JWT can't say how many connections its user may have, so they are counted
here, and the newest above the limit are closed. And nats-server lets somebody in, now and then,
whom the account JWT has ended; see ``barred``.

Connections are known from the events that nats-servers send in the system account, and from a
listing at the start, after each new connection of the system user, whenever a server appears, and
once a minute for what was lost. Only where somebody may have to go are servers asked anything:
which of them are there. One that crashed told of no ends, and what was on it is counted no more.

Every replica does it. All choose the same connections, and closing one twice harms nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING

import structlog

from authsvc.errors import AuthsvcError
from authsvc.server import metrics
from authsvc.server.provision.barred import Barred
from authsvc.server.provision.census import (
    Census,
    Key,
    Presence,
    Whose,
    read_event,
    read_moment,
)
from authsvc.server.provision.tasks import end

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from authsvc.server.provision.closing_events import ClosingEvents
    from authsvc.server.provision.connections import Listed
    from authsvc.server.provision.publish import Stand
    from authsvc.server.provision.resolver import Resolver
    from authsvc.server.provision.standing import Why

__all__ = ["Attendance"]

_SETTLE_SECONDS = 0.15
"""An end may be told a little later than the beginning that came after it."""
_AGAIN_SECONDS = 1.0
_LIST_SECONDS = 60.0
_AT_ONCE = 64

log = structlog.get_logger("authsvc.connections")


class Attendance:
    """Closes connections that must not be there.

    Args:
        resolver: The way to nats-servers; not connected yet.
        account: Public key of the people's account.
        limit: How many connections a user may have.
        events: Told of whose connections this replica closed.
        read: Reads the account's JWT from its row.
    """

    def __init__(
        self,
        resolver: Resolver,
        account: str,
        limit: int,
        events: ClosingEvents,
        read: Callable[[], Awaitable[str]],
    ) -> None:
        self._resolver = resolver
        self._account = account
        self._events = events
        self.census = Census(limit)
        self.barred = Barred(read)
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
        self._task = asyncio.create_task(self._keep(), name="authsvc-attendance")

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            await end([self._task, *self._telling])

    def note(self, stand: Stand) -> None:
        """Take what the rows say of an account; those of others are none of ours."""
        if stand.public_key == self._account and self.barred.note(stand.jwt):
            self._wake.set()

    async def _on_connect(self, message: Msg) -> None:
        found = read_event(message.data, time.monotonic())
        if found is None:
            return
        key, there = found
        many = self.census.came(key, there)
        if self.barred.heard(key, there.whose) or many:
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
                log.warning("connections not looked at", error=str(error))
            except Exception as error:
                log.exception("connections not looked at", error=type(error).__name__)
            left = self._list_at - time.monotonic()
            if self._busy() or self.barred.waiting or not self._resolver.connected:
                left = _AGAIN_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(_AGAIN_SECONDS, left)):
                    await self._wake.wait()
            self._wake.clear()

    def _busy(self) -> bool:
        """Whether somebody has to go whose server can be told."""
        awake = self._resolver.awake()
        return bool(self.census.over) or any(key.server_id in awake for key in self.barred.suspects)

    async def _turn(self) -> None:
        now, listed = time.monotonic(), False
        if self._resolver.connected and now >= self._list_at:
            await self._list()
            listed = True
        if listed or self.barred.due(now):
            self.barred.look(self.census.present, now)
        if self._resolver.connected and self._busy():
            await asyncio.sleep(_SETTLE_SECONDS)
            # Who answers no more has nobody connected, or nobody who could be told.
            await self._resolver.servers()
            await self._end()
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

    async def _end(self) -> None:
        """Close what the account JWT has ended."""
        awake, names = self._resolver.awake(), {it.id: it.name for it in self._resolver.known()}
        of_one: defaultdict[tuple[Whose, Why], list[Key]] = defaultdict(list)
        for key, (whose, why) in (await self.barred.confirmed(self.census.present)).items():
            if key.server_id in awake:
                of_one[whose, why].append(key)
        for (whose, why), keys in of_one.items():
            closed = await self._close_all(keys, why)
            if closed:
                credential, server = whose.credential, names.get(keys[0].server_id, "")
                told = {"credential": credential, "user": whose.user, "reason": why}
                log.warning("let in though it had ended", server=server, closed=closed, **told)
                self._tell(credential, self._events.revoked(credential, why, server, closed))

    async def _enforce(self) -> None:
        awake = self._resolver.awake()
        for user in list(self.census.over):
            excess = self.census.excess(user, awake, time.monotonic())
            if not excess:
                continue
            number, closed = self.census.count(user), await self._close_all(excess, "limit")
            if closed:
                log.info("too many connections", user=user, number=number, closed=closed)
                self._tell(user, self._events.limit(user, number, closed))

    def _tell(self, whose: str, telling: Coroutine[None, None, None]) -> None:
        """Let it be written down; a database that is slow holds up nothing here."""
        if len(self._telling) >= _AT_ONCE:
            telling.close()
            return
        task = asyncio.create_task(self._say(whose, telling))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _say(self, whose: str, telling: Coroutine[None, None, None]) -> None:
        try:
            await telling
        except AuthsvcError as error:
            log.warning("not in the audit", whose=whose, error=str(error))

    async def _close_all(self, keys: Sequence[Key], reason: str) -> int:
        """Close connections; how many of them this replica did."""
        closed = 0
        for at in range(0, len(keys), _AT_ONCE):
            answers = await asyncio.gather(*map(self._close, keys[at : at + _AT_ONCE]))
            closed += sum(answers)
        metrics.KICKED.labels(reason).inc(closed)
        return closed

    async def _close(self, key: Key) -> bool:
        """Close a connection; whether this replica did. Without an answer it is tried again."""
        closed = await self._resolver.kick(key.server_id, key.cid)
        if closed is not None:
            self.census.left(key, time.monotonic())
        return bool(closed)


def _presences(listed: Listed, *, auth: bool) -> dict[Key, Presence | None]:
    now = time.monotonic()
    return {
        Key(it.server.id, it.cid): (
            Presence(it.whose, read_moment(it.started_at), now) if auth else None
        )
        for it in listed.connections
    }
