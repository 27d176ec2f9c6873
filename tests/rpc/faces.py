"""Both faces of the library behind one set of awaits, for tests that hold for both.

A test that asks for ``face`` runs twice: once with AsyncClient as it is, once with Client, each
of whose methods then blocks a thread of its own while the test awaits it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from authsvc.rpc import AsyncClient, Client, Response, SyncPeer
from authsvc.rpc._calls.calls import ClientStats
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc._session.session import Session

__all__ = ["FACES", "AnyClient", "Face", "InThreads"]


class InThreads:
    """A Client whose methods are awaited."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.client = Client(*args, **kwargs)

    async def connect(self) -> None:
        await in_thread(self.client.connect)

    async def close(self) -> None:
        await in_thread(self.client.close)

    def peer(self, name: str, app: str | None = None) -> PeerInThreads:
        return PeerInThreads(self.client.peer(name, app))

    async def call(self, url: str, **kwargs: Any) -> Response:
        return await in_thread(partial(self.client.call, url, **kwargs))

    @property
    def username(self) -> str:
        return self.client.username

    @property
    def stats(self) -> ClientStats:
        return self.client.stats

    @property
    def session(self) -> Session:
        return self.client._client.session


class PeerInThreads:
    """A SyncPeer whose methods are awaited."""

    def __init__(self, peer: SyncPeer) -> None:
        self.peer = peer
        self.name = peer.name

    async def call(self, target: str, **kwargs: Any) -> Response:
        return await in_thread(partial(self.peer.call, target, **kwargs))


AnyClient = AsyncClient | InThreads
Face = Callable[..., AnyClient]
FACES: dict[str, Face] = {"AsyncClient": AsyncClient, "Client": InThreads}
