"""SyncPeer: the blocking face of Peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from authsvc.rpc._loop_thread import LoopThread
from authsvc.rpc._messages import HeaderTypes, Response
from authsvc.rpc._peer import Peer

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
        return self._live().run(
            self._peer.call(
                target,
                method=method,
                json=json,
                content=content,
                headers=headers,
                timeout=timeout,
                idempotent=idempotent,
            )
        )
