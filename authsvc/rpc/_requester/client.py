"""AsyncClient: calls to other people's apps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from authsvc import subjects
from authsvc.errors import InvalidInput
from authsvc.rpc import syftbox
from authsvc.rpc._calls.calls import Calls, ClientStats
from authsvc.rpc._calls.futures import Future
from authsvc.rpc._calls.mailbox import Mailbox
from authsvc.rpc._messages.message import HeaderTypes, Response
from authsvc.rpc._messages.middleware import CallMiddleware
from authsvc.rpc._requester.connected import Connected
from authsvc.rpc._requester.peer import Peer
from authsvc.rpc._session.credentials import CredentialSource, TokenTypes
from authsvc.rpc._session.keys import KeyTypes
from authsvc.rpc._session.session import Session

__all__ = ["AsyncClient"]


class AsyncClient(Connected):
    """A user on NATS: calls others' apps, and carries a Service.

    ``async with AsyncClient(...) as client:`` connects and closes. Without arguments, SyftBox's
    configuration says who this is. ``trust`` says whose signatures count.

    Args:
        url: Where authsvc is.
        token: The identity token, or a callable that returns one, async or not.
        key: The user's nkey: a KeyPair, a seed, or a file that is made (0600) when absent.
            A key that lives as long as the process if None.
        creds: A ``.creds`` file or its text, instead of ``url`` and ``token``; never renewed.
        servers: NATS URLs; needed with ``creds``, otherwise authsvc names them.
        method: The login method; authsvc decides if None.
        name: What credential and connection are called in lists.
        source: A credential source of one's own, instead of all these.
        middleware: What stands around calls, the first outermost, such as ``Retry()``.
        sign: Whether requests are signed by the user's nkey.
        require_signed: Whether only answers count that are signed by the responder's.
        trusted_issuers: Public account keys (A...) that sign others' user JWTs, besides those
            that are known from this user's own and from authsvc.

    Raises:
        InvalidInput: The arguments don't fit together.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: TokenTypes | None = None,
        key: KeyTypes = None,
        creds: str | os.PathLike[str] | None = None,
        servers: Sequence[str] = (),
        method: str | None = None,
        name: str | None = None,
        source: CredentialSource | None = None,
        middleware: Iterable[CallMiddleware] = (),
        sign: bool = False,
        require_signed: bool = False,
        trusted_issuers: Iterable[str] = (),
    ) -> None:
        arguments = (url, token, key, creds, servers, method)
        super().__init__(
            arguments, source, name,
            sign=sign, require_signed=require_signed, trusted_issuers=trusted_issuers,
        )  # fmt: skip
        self._middleware = tuple(middleware)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self) -> None:
        """Log in and connect; nothing if that was done.

        Raises:
            NotAuthenticated: No credential could be had, or nats-server refuses it.
            PermissionDenied: The user is disabled.
            Disconnected: authsvc or nats-server can't be reached.
            InvalidInput: ``url`` or ``key`` is none.
        """
        # One at a time: tasks that connect together share one session.
        async with self._change:
            if self._closed:
                raise self._not_connected()
            if self._session is None:
                await self._connect()

    async def close(self) -> None:
        """Stop the services that run here, let go of calls, flush and close."""
        # A task of its own: whoever waits for it may be cancelled, nothing is left open.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    @property
    def username(self) -> str:
        """Who this is, as authsvc knows it."""
        return self.session.login.username

    @property
    def stats(self) -> ClientStats:
        """What was counted since the client was made."""
        return self._stats

    @property
    def session(self) -> Session:
        """The session; only once connected."""
        if self._session is None:
            raise self._not_connected()
        return self._session

    def peer(self, name: str, app: str | None = None) -> Peer:
        """Another user's app.

        Args:
            name: The username, or a ``syft://`` URL that names user and app.
            app: The app; not with a URL.

        Raises:
            InvalidName: The contract refuses the name.
            InvalidInput: Not such a URL, or the app is missing.
        """
        if name.startswith("syft://"):
            url = syftbox.SyftUrl.parse(name)
            if app is not None and subjects.app_name(app) != url.app:
                raise InvalidInput("the URL names the app already; leave app= out")
            return self._peer(url.username, url.app)
        if app is None:
            raise InvalidInput("which app? peer('bob@example.com', 'app')")
        return self._peer(subjects.username(name), subjects.app_name(app))

    def _peer(self, name: str, app: str) -> Peer:
        return Peer(
            self.live, self.username, name, app, middleware=self._middleware, sign=self._sign,
            require_signed=self._require_signed,
        )  # fmt: skip

    async def call(
        self,
        url: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        timeout: float = 30.0,
        idempotent: bool = False,
    ) -> Response:
        """Call what a ``syft://user/app_data/app/rpc/endpoint`` URL names; see Peer.call."""
        found = syftbox.SyftUrl.parse(url)
        return await self._peer(found.username, found.app).call(
            found.target,
            method=method,
            json=json,
            content=content,
            headers=headers,
            timeout=timeout,
            idempotent=idempotent,
        )

    async def describe(
        self, name: str, app: str | None = None, *, timeout: float = 30.0
    ) -> dict[str, Any]:
        """What an app says of itself; see Peer.describe. Names are as for ``peer``."""
        return await self.peer(name, app).describe(timeout=timeout)

    async def submit(
        self,
        url: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        expires: float | str = "15m",
        timeout: float = 30.0,
    ) -> Future:
        """Store a request for what a ``syft://`` URL names; see Peer.submit."""
        found = syftbox.SyftUrl.parse(url)
        return await self._peer(found.username, found.app).submit(
            found.target,
            method=method,
            json=json,
            content=content,
            headers=headers,
            expires=expires,
            timeout=timeout,
        )

    def future(self, future_id: str) -> Future:
        """The Future of a request that this user submitted before, in another process too.

        Args:
            future_id: Its ``id``.

        Raises:
            InvalidInput: Not a Future's id.
            Disconnected: Not connected yet, or closed.
        """
        return self.mailbox.future(future_id)

    @property
    def mailbox(self) -> Mailbox:
        """What was submitted and is waited for; only once connected."""
        if self._mailbox is None or self._closed:
            raise self._not_connected()
        return self._mailbox

    def live(self) -> tuple[Session, Calls]:
        """Session and calls.

        Raises:
            Disconnected: There are none: not connected yet, or closed.
        """
        if self._session is None or self._calls is None or self._closed:
            raise self._not_connected()
        return self._session, self._calls

    def attach(self, service: Any) -> None:
        """A service runs on this client."""
        self._services.add(service)

    def detach(self, service: Any) -> None:
        """It does no more."""
        self._services.discard(service)
