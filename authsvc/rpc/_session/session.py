"""One live NATS connection at a time, made with a credential that is renewed before it ends.

nats-py closes for good when its credential ends, so a renewal is a second connection that takes
over: it connects and subscribes, the server confirms, publishing moves, and only then the first
one unsubscribes, hears out what is under way, and closes. No call is lost: requesters hear on
both, responders are in their queue group with both.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable

from authsvc.client import Api
from authsvc.errors import (
    Disconnected,
    NotAuthenticated,
    PermissionDenied,
    RpcError,
    Unavailable,
)
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._session.credentials import CredentialSource, Login, usable_servers
from authsvc.rpc._session.interests import Interest, Interests
from authsvc.rpc._session.owner import Owner, fresh
from authsvc.rpc._session.parser import Listener

__all__ = ["Session"]

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 10.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.25, 15.0
_REFUSALS_IN_A_ROW = 3
_SHORTEST_SECONDS = 0.1
_CANCEL_AGAIN_SECONDS = 1.0


class Session:
    """Keeps a user connected.

    Args:
        source: Where credentials come from.
        owner: Who is told what happens.
        name: Shown in nats-server's monitoring.
    """

    patience = math.inf
    """Seconds that a service may take at most to finish what it handles."""

    def __init__(self, source: CredentialSource, owner: Owner, name: str) -> None:
        self._source = source
        self._owner = owner
        self._name = name
        self._login: Login | None = None
        self._connection: Connection | None = None
        self._interests = Interests()
        self._change = asyncio.Lock()
        self._ready = asyncio.Event()
        self._kick = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._failure: RpcError | None = None
        # Whether the credential is good, and only a connection is missing.
        self._only_connect = False
        self._watchers: list[Callable[[], None]] = []
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over.add_done_callback(_retrieve)

    @property
    def login(self) -> Login:
        """The credential in use."""
        if self._login is None:
            raise NotAuthenticated("not connected yet: use `async with` or `await connect()`")
        return self._login

    @property
    def connection(self) -> Connection | None:
        """The connection to publish on, if there is one now."""
        connection = self._connection
        return connection if connection is not None and connection.is_live else None

    @property
    def api(self) -> Api | None:
        """The HTTP API of authsvc, where the credentials come from there."""
        found = getattr(self._source, "api", None)
        return found if isinstance(found, Api) else None

    @property
    def failure(self) -> RpcError | None:
        """Why there will be no connection any more."""
        return self._failure

    async def start(self) -> None:
        """Log in and connect.

        Raises:
            NotAuthenticated: No credential could be had, or nats-server refuses it.
            PermissionDenied: The user is disabled.
            Disconnected: authsvc or nats-server can't be reached.
        """
        try:
            self._login = await self._source.obtain(None)
        except Unavailable as error:
            raise Disconnected(str(error)) from error
        self._connection = await self._open(self._login)
        self._ready.set()
        self._keeper = asyncio.create_task(self._keep(), name="authsvc session")

    async def stop(self) -> None:
        """Flush and close."""
        # More than once: nats-py, while it connects, and what gets a token may swallow the first.
        while self._keeper is not None and not self._keeper.done():
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=_CANCEL_AGAIN_SECONDS)
        self._end(Disconnected("the client was closed"))
        async with self._change:
            connection, self._connection = self._connection, None
            if connection is not None:
                if connection.is_connected:
                    with contextlib.suppress(RpcError):
                        await connection.finish()
                await connection.shut()
        await self._source.close()

    async def usable(self) -> Connection:
        """The connection, as soon as there is one.

        Raises:
            RpcError: There will be none any more.
        """
        while True:
            if self._failure is not None:
                raise fresh(self._failure)
            if (connection := self.connection) is not None:
                return connection
            self._ready.clear()
            await self._ready.wait()

    async def failed(self) -> None:
        """Wait until there will be no connection any more, and raise why.

        Raises:
            RpcError: Why.
        """
        await asyncio.shield(self._over)

    async def listen(self, subject: str, receiver: Listener, queue: str = "") -> Interest:
        """Subscribe, now and on every connection to come. Returns when the server knows.

        Raises:
            PermissionDenied: nats-server refuses it.
        """
        interest = Interest(subject, queue, receiver)
        while True:
            connection = await self.usable()
            async with self._change:
                if connection is not self._connection:
                    continue
                with contextlib.suppress(Disconnected):
                    await self._interests.add(connection, interest)
                    return interest

    async def forget(self, interest: Interest) -> None:
        """Unsubscribe; returns when everything that was under way has been received."""
        async with self._change:
            await self._interests.remove(interest)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call a function when there is a connection again, or another one, or none any more."""
        self._watchers.append(watcher)

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Call it no more."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    def _tell_watchers(self) -> None:
        for watcher in tuple(self._watchers):
            watcher()

    # What a Connection reports.

    def jwt(self) -> str:
        """The newest user JWT, for a connection that comes back by itself."""
        return self.login.jwt

    def lost(self, connection: Connection) -> None:
        """The connection broke; nats-py tries to bring it back."""
        if connection is self._connection:
            self._ready.clear()
            self._owner.session_lost()

    def back(self, connection: Connection) -> None:
        """The connection is back."""
        if connection is self._connection:
            self._ready.set()
            self._owner.session_ready(renewed=False)
            self._tell_watchers()

    def ended(self, connection: Connection, reason: str, *, refused: bool) -> None:
        """The connection closed for good, or its credential is refused."""
        if connection is self._connection:
            self._only_connect = not refused
            _log.info("NATS connection ended (%s); a new one is made", reason)
            self._ready.clear()
            self._owner.session_lost(refused=refused)
            self._kick.set()

    def refused(self, action: str, subject: str) -> None:
        """nats-server refused an action."""
        if action == "subscription":
            self._interests.refused(subject)
        self._owner.session_refused(action, subject)

    # Renewal.

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_renewal()):
                    await self._kick.wait()
            self._kick.clear()
            try:
                await self._replace()
            except RpcError as error:
                _log.warning("the NATS session ended: %s", error)
                self._end(error)
                self._owner.session_failed(error)
                return

    def _end(self, error: RpcError) -> None:
        """Let nobody wait any more for a connection."""
        if self._failure is None:
            self._failure = error
            self._over.set_exception(error)
            self._ready.set()
            self._tell_watchers()

    def _until_renewal(self) -> float | None:
        renew_at = self.login.renew_at
        if renew_at is None:
            return None
        left = max(_SHORTEST_SECONDS, renew_at - time.monotonic())
        # Spread, so that clients that began together don't renew together.
        return left * random.uniform(0.85, 1.0)  # noqa: S311

    async def _replace(self) -> None:
        """Get a new credential and let a new connection take over; retries what may pass."""
        backoff, refusals = _FIRST_BACKOFF, 0
        while True:
            login = None
            try:
                login = await self._next_login()
                await self._take_over(await self._open(login))
            except (NotAuthenticated, PermissionDenied) as error:
                refusals += 1
                self._only_connect = False
                if self.connection is None and (login is None or refusals >= _REFUSALS_IN_A_ROW):
                    raise
                # The credential in use still works; or nats-server has not heard yet of what
                # authsvc knows.
                _log.warning("no new credential: %s; trying again in %.1f s", error, backoff)
            except (Unavailable, Disconnected) as error:
                _log.warning("renewal failed: %s; trying again in %.1f s", error, backoff)
                if self.connection is None:
                    self._owner.session_lost()
            except Exception as error:  # noqa: BLE001  a token callable raises what it likes
                # Its text may hold a token.
                name = type(error).__name__
                _log.warning("renewal failed with %s; trying again in %.1f s", name, backoff)
            else:
                self._only_connect = False
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff * random.uniform(0.5, 1.0)):  # noqa: S311
                    await self._kick.wait()
            self._kick.clear()
            backoff = min(backoff * 2, _LAST_BACKOFF)

    async def _next_login(self) -> Login:
        current = self.login
        if self._only_connect:
            return current
        login = await self._source.obtain(current)
        if login.username != current.username:
            raise NotAuthenticated("the new credential is another user's; make a new client")
        self._login = login
        self._only_connect = True
        return login

    async def _open(self, login: Login) -> Connection:
        connection = Connection(login.key, self, login.max_payload)
        servers = usable_servers(login.servers)
        await connection.open(servers, name=self._name, timeout=_CONNECT_SECONDS)
        return connection

    async def _take_over(self, new: Connection) -> None:
        try:
            async with self._change:
                await self._interests.join(new)
                old, self._connection = self._connection, new
                self._ready.set()
                self._owner.session_ready(renewed=True)
                self._tell_watchers()
                if old is not None:
                    await self._interests.leave(old)
        except BaseException:
            if self._connection is not new:
                await new.shut()
            raise


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
