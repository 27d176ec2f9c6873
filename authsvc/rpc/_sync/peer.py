"""SyncPeer: the blocking face of Peer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from authsvc.rpc._loops.loop_thread import LoopThread
from authsvc.rpc._messages.message import HeaderTypes, Response
from authsvc.rpc._requester.peer import Peer
from authsvc.rpc._streams.response import ResponseStream
from authsvc.rpc._sync.future import SyncFuture
from authsvc.rpc._sync.transport import SyncResponseStream, SyncTransport, opened_stream

__all__ = ["SyncPeer"]


class SyncPeer:
    """One app of one user, to be called. Made by ``Client.peer``."""

    __slots__ = ("_live", "_peer", "app", "name")

    def __init__(self, live: Callable[[], LoopThread], peer: Peer) -> None:
        # A method of the client, which thus stays open as long as a peer is held.
        self._live = live
        self._peer = peer
        self.name = peer.name
        self.app = peer.app

    def __repr__(self) -> str:
        return f"<SyncPeer {self.name} {self.app}>"

    def call(
        self,
        target: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        timeout: float = 30.0,
        idempotent: bool = False,
    ) -> Response:
        """Send a request and wait for its response, whatever its status.

        KeyboardInterrupt gives the call up; the client stays usable.

        Args:
            target: Path and query, such as ``/ping?n=1``.
            method: The method.
            json: A body to be sent as JSON.
            content: A body as it is; str is sent as UTF-8.
            headers: More headers.
            timeout: Seconds until DeadlineExceeded; the responder knows it too.
            idempotent: Whether the request may be sent again when the connection broke.

        Raises:
            NoResponder: Nobody listens for the app; known at once.
            DeadlineExceeded: No response came in time.
            PermissionDenied: nats-server refuses this call, or the user was disabled.
            NotAuthenticated: The credential ended and there is no other.
            PayloadTooLarge: The request is larger than may be sent.
            Disconnected: The connection broke meanwhile, the client was closed, or it is the
                client of the process that this one was forked from.
            InvalidMessage: Method, target or headers can't travel.
            TypeError: ``content`` is neither bytes nor str, or ``json`` nothing JSON can hold.
            RuntimeError: This is the client's own event loop, which would wait for itself.
        """
        thread = self._live()
        arguments: dict[str, Any] = {
            "method": method,
            "json": json,
            "content": content,
            "headers": headers,
            "timeout": timeout,
            "idempotent": idempotent,
        }
        if (asking := self._peer.asking(target, **arguments)) is not None:
            response: Response = thread.ask(asking)
            return response
        return thread.run(self._peer.call(target, **arguments))

    def submit(
        self,
        target: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | None = None,
        headers: HeaderTypes = (),
        expires: float | str = "15m",
        timeout: float = 30.0,
    ) -> SyncFuture:
        """Store a request, which is handled when the responder is there; see Peer.submit."""
        future = self._live().run(
            self._peer.submit(
                target,
                method=method,
                json=json,
                content=content,
                headers=headers,
                expires=expires,
                timeout=timeout,
            )
        )
        return SyncFuture(self._live, future)

    def describe(self, *, timeout: float = 30.0) -> dict[str, Any]:
        """What the app says of itself; see Peer.describe.

        Args:
            timeout: Seconds until DeadlineExceeded.

        Raises:
            RemoteError: The app does not describe itself (404), or not to this user (403).
            InvalidMessage: It answered, but with something else.
            RpcError: As ``call`` does.
        """
        return self._live().run(self._peer.describe(timeout=timeout))

    def stream(
        self,
        target: str,
        *,
        method: str = "POST",
        json: Any = None,
        content: bytes | str | Iterable[bytes] | None = None,
        headers: HeaderTypes = (),
        timeout: float = 30.0,
    ) -> AbstractContextManager[SyncResponseStream]:
        """Send a request and read its response piece by piece; neither body is held as a whole.

        ``with peer.stream("/big", method="GET") as response:``

        Args:
            target: Path and query.
            method: The method.
            json: A body to be sent as JSON.
            content: A body as it is, or pieces of bytes, which are made in this thread.
            headers: More headers.
            timeout: Seconds until DeadlineExceeded: for the response to begin, and for each
                further piece either way.

        Raises:
            RpcError: As ``call``; while the body is read too.
        """

        def opening(pieces: Any) -> AbstractAsyncContextManager[ResponseStream]:
            return self._peer.stream(
                target,
                method=method,
                json=json,
                content=pieces,
                headers=headers,
                timeout=timeout,
            )

        return opened_stream(self._live(), opening, content)

    def transport(self) -> SyncTransport:
        """An httpx transport: ``httpx.Client(transport=peer.transport(), base_url=...)``."""
        return SyncTransport(self._live, self._peer.transport())
