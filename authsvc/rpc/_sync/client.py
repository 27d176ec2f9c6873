"""Client: the blocking face of AsyncClient, over one event loop in a thread.

Every method of AsyncClient and Peer has its twin here and in _sync_peer.py, with the same
arguments, and is handed to the loop's thread by ``LoopThread.run``; tests/rpc/test_parity.py
says what has no twin yet. Methods that don't wait are called where they are.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from authsvc.errors import Disconnected
from authsvc.rpc._calls.calls import ClientStats
from authsvc.rpc._calls.futures import Future
from authsvc.rpc._loops.loop_thread import LoopThread
from authsvc.rpc._messages.message import HeaderTypes, Response
from authsvc.rpc._messages.middleware import CallMiddleware
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._service import Service
from authsvc.rpc._session.credentials import CredentialSource, TokenTypes
from authsvc.rpc._session.keys import KeyTypes
from authsvc.rpc._syftbox.url import SyftUrl
from authsvc.rpc._sync.future import SyncFuture
from authsvc.rpc._sync.peer import SyncPeer

__all__ = ["Client"]


class Client:
    """A user on NATS, for code that blocks: scripts, threads, notebooks.

    ``with Client(...) as client:`` connects and closes. Any number of threads may use it at
    once; its own event loop runs in a thread of its own. Without arguments, SyftBox's
    configuration says who this is.

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
        self._client = AsyncClient(
            url,
            token=token,
            key=key,
            creds=creds,
            servers=servers,
            method=method,
            name=name,
            source=source,
            middleware=middleware,
            sign=sign,
            require_signed=require_signed,
            trusted_issuers=trusted_issuers,
        )
        self._making = threading.Lock()
        self._thread: LoopThread | None = None
        self._closed = False

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Log in and connect; nothing if that was done.

        Raises:
            NotAuthenticated: No credential could be had, or nats-server refuses it.
            PermissionDenied: The user is disabled.
            Disconnected: authsvc or nats-server can't be reached.
            InvalidInput: ``url`` or ``key`` is none.
        """
        if self._thread is None:
            with self._making:
                if self._thread is None and not self._closed:
                    self._thread = LoopThread(self._client.close)
                    # Without a reference to this client, which is to be collected.
                    weakref.finalize(self, self._thread.end).atexit = False
        self.live().run(self._client.connect())

    def close(self) -> None:
        """Stop the services that run here, let go of calls, flush and close.

        In a process that was forked from the client's, this does nothing.
        """
        if self._thread is None:
            with self._making:
                self._closed = True
        if self._thread is not None:
            self._thread.close()

    @property
    def username(self) -> str:
        """Who this is, as authsvc knows it."""
        self.live()
        return self._client.username

    @property
    def stats(self) -> ClientStats:
        """What was counted since the client was made."""
        return self._client.stats

    def peer(self, name: str, app: str | None = None) -> SyncPeer:
        """Another user's app.

        Args:
            name: The username, or a ``syft://`` URL that names user and app.
            app: The app; not with a URL.

        Raises:
            InvalidName: The contract refuses the name.
            InvalidInput: Not such a URL, or the app is missing.
        """
        self.live()
        return SyncPeer(self.live, self._client.peer(name, app))

    def call(
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
        """Call what a ``syft://user/app_data/app/rpc/endpoint`` URL names; see SyncPeer.call."""
        return self.live().run(
            self._client.call(
                url,
                method=method,
                json=json,
                content=content,
                headers=headers,
                timeout=timeout,
                idempotent=idempotent,
            )
        )

    def submit(
        self,
        url: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        expires: float | str = "15m",
        timeout: float = 30.0,
    ) -> SyncFuture:
        """Store a request for what a ``syft://`` URL names; see SyncPeer.submit."""
        found = SyftUrl.parse(url)
        return self.peer(found.username, found.app).submit(
            found.target,
            method=method,
            json=json,
            content=content,
            headers=headers,
            expires=expires,
            timeout=timeout,
        )

    def future(self, future_id: str) -> SyncFuture:
        """The future of a request that this user submitted before, in another process too.

        Args:
            future_id: Its ``id``.

        Raises:
            InvalidInput: Not a future's id.
            Disconnected: Not connected yet, or closed.
        """

        async def found() -> Future:
            # In the loop, so that threads that ask at once for one id get one Future.
            return self._client.future(future_id)

        return SyncFuture(self.live, self.live().run(found()))

    def describe(
        self, name: str, app: str | None = None, *, timeout: float = 30.0
    ) -> dict[str, Any]:
        """What an app says of itself; see SyncPeer.describe. Names are as for ``peer``."""
        return self.peer(name, app).describe(timeout=timeout)

    def live(self) -> LoopThread:
        """The event loop's thread.

        Raises:
            Disconnected: There is none, because the client was never connected.
        """
        # Closing is for AsyncClient to tell: what is still handled then may go on calling.
        if self._thread is None:
            if self._closed:
                raise Disconnected("the client was closed; make a new one")
            raise Disconnected("not connected: use `with Client(...)` or connect()")
        return self._thread

    def serve(self, service: Service, *, on_ready: Callable[[], Any] | None = None) -> None:
        """Answer requests until this client is closed; see Service.serve.

        Blocks; give it a thread, or end it by KeyboardInterrupt.
        """
        self.live().run(service.serve(self._client, on_ready=on_ready))
