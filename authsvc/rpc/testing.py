"""For unit tests of apps: people who call one another inside one event loop, without a server.

    async with pair(service) as client:
        bob = client.peer("bob@example.com", "pingpong")
        assert (await bob.call("/ping", json={"n": 1})).json() == {"pong": 1}

The bytes are those that would travel, and each may publish and listen only where nats-server
would let them. Requests that are submitted wait here too, but nothing is on disk, nothing breaks
and nobody logs in: for that, the pytest plugin starts the real servers; ``LocalServer`` is what
it stands on. See docs/testing.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

from authsvc.rpc._memory.local_server import LocalServer
from authsvc.rpc._memory.memory import BlockingMemoryClient, Board, MemoryClient
from authsvc.rpc._requester.client import AsyncClient
from authsvc.rpc._service import Service
from authsvc.rpc._sync.client import Client

__all__ = ["REQUESTER", "RESPONDER", "LocalServer", "Network", "pair", "sync_pair"]

REQUESTER, RESPONDER = "alice@example.com", "bob@example.com"
_MAX_PAYLOAD = 8 * 1024 * 1024


class Network:
    """People and apps that reach one another in memory. Closes what it made at its end.

    Args:
        max_payload: Bytes of the largest message.
    """

    def __init__(self, *, max_payload: int = _MAX_PAYLOAD) -> None:
        self.board = Board(max_payload)
        self._clients: list[AsyncClient] = []
        self._serving: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def client(self, username: str) -> AsyncClient:
        """A connected client of this user; one user may have several.

        Raises:
            InvalidName: The contract refuses the name.
        """
        client = MemoryClient(self.board, username)
        await client.connect()
        self._clients.append(client)
        return client

    async def serve(self, service: Service, username: str) -> AsyncClient:
        """Let this user's app answer; the client it runs on can call others.

        Raises:
            RuntimeError: The service is being served already.
        """
        client = await self.client(username)
        task = asyncio.create_task(service.serve(client))
        self._serving.append(task)
        # Not ready() alone: what a service that runs already raises comes out of the task.
        ready = asyncio.create_task(service.ready())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            ready.cancel()
            self._serving.remove(task)
            task.result()
        return client

    async def close(self) -> None:
        """Stop the services and close the clients."""
        for client in reversed(self._clients):
            await client.close()
        self._clients.clear()
        serving, self._serving = self._serving, []
        await asyncio.gather(*serving)


@asynccontextmanager
async def pair(
    service: Service, *, requester: str = REQUESTER, responder: str = RESPONDER
) -> AsyncIterator[AsyncClient]:
    """A client and a service, joined in memory.

    Args:
        service: The app; served by ``responder`` while the block runs.
        requester: Whose client comes out of it.
        responder: Whom to name in ``client.peer(responder, service.name)``.

    Raises:
        InvalidName: The contract refuses a name.
        RuntimeError: The service is being served already.
    """
    async with Network() as network:
        await network.serve(service, responder)
        yield await network.client(requester)


@contextmanager
def sync_pair(
    service: Service, *, requester: str = REQUESTER, responder: str = RESPONDER
) -> Iterator[Client]:
    """The same for code that blocks; a ``with`` gives the client.

    The service runs in the event loop of the client's own thread. Arguments and errors are those
    of ``pair``.
    """
    network = Network()
    with BlockingMemoryClient(network.board, requester) as client:
        loop = client.live()
        loop.run(network.serve(service, responder))
        try:
            yield client
        finally:
            loop.run(network.close())
