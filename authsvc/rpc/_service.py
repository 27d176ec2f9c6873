"""Service: an app that answers others."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Unpack

from authsvc.errors import Disconnected
from authsvc.rpc._loops.running import run_until_told
from authsvc.rpc._messages.middleware import Middleware
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._responder.answering import Answering
from authsvc.rpc._responder.discovery import Discovery
from authsvc.rpc._responder.offline import OfflineServing
from authsvc.rpc._responder.routes import Allow
from authsvc.rpc._responder.serving import Serving
from authsvc.rpc._responder.signed import signed_only
from authsvc.rpc._session.arguments import CredentialArguments
from authsvc.rpc._session.session import Session
from authsvc.rpc._wire.flow import MAX_BODY_BYTES

__all__ = ["Service"]


class Service(Answering):
    """An app's handlers, by path and method.

    Args:
        name: The app's name, 1 to 64 bytes.
        allow: Who may call: names, or a callable that gets the requester's name (or the
            Request, if its parameter is annotated so). Everybody if None.
        concurrency: How many requests are handled at a time; more wait.
        offline: Whether requests that were stored by ``submit`` are handled too. The app is
            registered with authsvc, so that they wait while it is away.
        ordered: Whether the stored requests of one requester are handled one after the other,
            in the order they were stored, also when a process was killed; run one process of
            such an app.
        on_ready: Called, async or not, when requests can come.
        publish_schema: Whether ``describe`` tells those who may call what there is to call.
        middleware: What stands around the handlers, the first outermost; see ``use``.
        version: Of the app, as its information shows it.
        description: Of the app, as its information shows it.
        sign: Whether answers are signed by the user's nkey.
        require_signed: Whether requests that their requester did not sign are refused (403).

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(
        self,
        name: str,
        *,
        allow: Allow = None,
        concurrency: int = 256,
        offline: bool = False,
        ordered: bool = False,
        on_ready: Callable[[], Any] | None = None,
        publish_schema: bool = True,
        middleware: Iterable[Middleware] = (),
        version: str = "0.0.0",
        description: str = "",
        sign: bool = False,
        require_signed: bool = False,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency is at least 1")
        super().__init__(
            name,
            allow=allow,
            middleware=middleware,
            publish_schema=publish_schema,
            version=version,
            description=description,
        )
        self._sign = sign
        self._require_signed = require_signed
        self._concurrency = concurrency
        self._offline = offline or ordered
        self._ordered = ordered
        self._on_ready = on_ready
        self.max_body = MAX_BODY_BYTES
        self._discovery: Discovery | None = None
        # Of the serve that is under way, that comes next, or that failed before it was ready.
        self._ready: asyncio.Future[None] | None = None

    async def ready(self) -> None:
        """Return when requests can come.

        Raises:
            Exception: What ``serve`` ended with before requests could come.
        """
        await asyncio.sleep(0)  # a serve that was made a task just now begins
        await asyncio.shield(self._readiness())

    def _readiness(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if self._ready is None or self._ready.get_loop() is not loop:
            self._ready = loop.create_future()
        return self._ready

    async def serve(
        self, client: AsyncClient, *, on_ready: Callable[[], Any] | None = None
    ) -> None:
        """Answer requests on a connected client until ``stop``, its end, or cancellation.

        Args:
            client: Whose user answers.
            on_ready: Called, async or not, when requests can come.

        Raises:
            RuntimeError: This service is being served already.
            PermissionDenied: The user may not answer for this app.
            NotAuthenticated: The client's credential ended and there is no other.
        """
        if self._serving is not None:
            raise RuntimeError(f"the service {self.name!r} is being served already")
        if self._ready is not None and self._ready.done():
            self._ready = None
        ready = self._readiness()
        try:
            session, _ = client.live()
            self._serving = serving = self._serving_on(session, client)
            if self._sign:
                serving.sign()
            if self._require_signed:
                serving.demand_signed()
                self._layers = (signed_only(client.trust, self.stats), *self._middleware)
            self._discovery = discovery = Discovery(self, session)
            client.attach(self)
            try:
                if await serving.start():
                    await discovery.start()
                    ready.set_result(None)
                    await self._tell(on_ready)
                await serving.finished()
            finally:
                try:
                    await discovery.stop()
                    await serving.stop()
                finally:
                    self._serving = None
                    client.detach(self)
        except Exception as error:
            _fail(ready, error)
            raise
        finally:
            _fail(ready, Disconnected("the service was stopped before requests could come"))
            if ready.exception() is None:
                self._ready = None

    def _serving_on(self, session: Session, client: AsyncClient) -> Serving:
        if not self._offline:
            return Serving(self, session, self._concurrency)
        receipts = client.mailbox.receipts
        return OfflineServing(self, session, self._concurrency, receipts, ordered=self._ordered)

    async def _tell(self, on_ready: Callable[[], Any] | None) -> None:
        for callback in (self._on_ready, on_ready):
            if callback is not None and inspect.isawaitable(result := callback()):
                await result

    async def stop(self) -> None:
        """Take no more, finish what is in flight, answer it; ``serve`` then returns."""
        if self._serving is not None:
            if self._discovery is not None:
                await self._discovery.stop()
            await self._serving.stop()

    def run(
        self,
        url: str | None = None,
        *,
        on_ready: Callable[[], Any] | None = None,
        **credentials: Unpack[CredentialArguments],
    ) -> None:
        """Serve until SIGINT or SIGTERM, which lets it finish what is in flight (30 s at most).

        Blocks; has its own event loop, uvloop where that is installed. A second signal kills
        the process. In a thread other than the main one there are no signals, and where an
        event loop runs already, as in a notebook, that waits too.

        Args:
            url: Where authsvc is, as for AsyncClient.
            on_ready: Called, async or not, when requests can come.
            credentials: AsyncClient's other arguments.

        Raises:
            RpcError: There is no connection, or it ended for good.
        """
        run_until_told(self._main(url, on_ready, credentials))

    async def _main(
        self,
        url: str | None,
        on_ready: Callable[[], Any] | None,
        credentials: CredentialArguments,
    ) -> None:
        async with AsyncClient(url, **credentials) as client:
            await self.serve(client, on_ready=on_ready)

    def _not_ready(self, error: Exception) -> None:
        """What comes before ``serve`` failed."""
        _fail(self._readiness(), error)


def _fail(ready: asyncio.Future[None], error: Exception) -> None:
    if not ready.done():
        ready.set_exception(error)
        ready.exception()  # seen, even where nobody waits for it
