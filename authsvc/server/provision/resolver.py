"""Account JWTs handed to every nats-server, over the system account, by a narrow user.

    resolver = Resolver(urls, jwt, key)
    await resolver.connect()
    answers = await resolver.push(account_jwt)      # one for each live server
    await resolver.lookup(account_key)

A server confirms a push by its answer, and answers 200 for an older JWT too, so a push is
followed by a look-up; its answers don't name their servers, so they are counted. Which servers
there are is known from their answers to pings and from the statistics that each sends every ten
seconds and a quarter second after it starts. One that owes an answer is waited for no longer, and
still counts: see ``live_servers``.

Source: nats-server, server/accounts.go (DirAccResolver) and server/events.go.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from authsvc.claims import decode_account
from authsvc.errors import InvalidClaims
from authsvc.server.provision.accounts import SYSTEM_USER
from authsvc.server.provision.answers import (
    Answer,
    Server,
    read_answer,
    read_list,
    read_operator,
    read_server,
    read_statistics,
)
from authsvc.server.provision.connection import Connection
from authsvc.server.provision.connections import Listed, close_connection, list_connections
from authsvc.server.provision.live_servers import LiveServers
from authsvc.server.provision.questions import Questions
from authsvc.subjects import inbox_prefix

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from authsvc.nkey import KeyPair
    from authsvc.server.metrics import NatsStatistics

__all__ = ["Answer", "Resolver", "Server", "issued_at"]

_PING_SECONDS = 1.0
_PUSH_SECONDS = 3.0


class Resolver:
    """The way to every server's account resolver.

    Args:
        urls: Of some servers of the cluster.
        jwt: The system user's JWT; see ``accounts.system_user``.
        key: Its nkey.
        name: Its name.
        tls: Makes the context for each connection by TLS; the system's authorities if None.
    """

    def __init__(
        self,
        urls: Sequence[str],
        jwt: str,
        key: KeyPair,
        *,
        name: str = SYSTEM_USER,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._connection = Connection(
            urls,
            jwt,
            key,
            name=name,
            on_open=self._opened,
            on_close=self._closed,
            tls=tls,
        )
        self._inbox = inbox_prefix(name)
        self._live = LiveServers()
        self._questions = Questions(self._connection, self._inbox, self._live)
        self._statistics: dict[str, NatsStatistics] = {}
        self._callbacks: list[Callable[[Server], None]] = []
        self._listeners: dict[str, Callable[[Msg], Awaitable[None]]] = {}
        self._openings: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether a server can be asked now."""
        return self._connection.client is not None

    @property
    def error(self) -> str | None:
        """Why there is no connection; None while there is one."""
        return self._connection.error

    @property
    def away(self) -> float:
        """Seconds since a server could be asked; 0 while one can."""
        return self._connection.away

    def on_server(self, callback: Callable[[Server], None]) -> None:
        """Be told of every server that appears, restarts or comes back."""
        self._callbacks.append(callback)

    def listen(self, subject: str, listener: Callable[[Msg], Awaitable[None]]) -> None:
        """Hear events of nats-servers, on every connection that is made from now on."""
        self._listeners[subject] = listener

    def on_open(self, callback: Callable[[], None]) -> None:
        """Be told of every new connection: what was said until then was not heard."""
        self._openings.append(callback)

    async def connect(self, wait: float = 2.0) -> bool:
        """Begin to connect; it goes on in the background, for ever.

        Args:
            wait: Seconds to wait for the first connection.

        Returns:
            Whether there is a connection now.
        """
        return await self._connection.open(wait)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    @property
    def jwt(self) -> str:
        """The system user's JWT."""
        return self._connection.jwt

    async def renew(self, jwt: str) -> None:
        """Go on with another JWT of the same user; the connection is made anew."""
        await self._connection.renew(jwt)

    async def servers(self) -> list[Server]:
        """The live servers, by name, asked for now; one that fell silent is still among them."""
        await self._ping()
        return self.known()

    def known(self) -> list[Server]:
        """The same without asking."""
        return self._live.servers()

    def statistics(self) -> dict[str, NatsStatistics]:
        """What each live server said of itself last, by name."""
        known = {server.id: server.name for server in self.known()}
        self._statistics = {key: it for key, it in self._statistics.items() if key in known}
        return {known[key]: it for key, it in self._statistics.items()}

    def awake(self) -> set[str]:
        """The ids of those that owe no answer."""
        return self._live.awake()

    def last_seen(self) -> dict[str, float]:
        """When each live server was heard, by id, in seconds since the epoch."""
        past = time.time() - time.monotonic()
        return {key: past + seen.heard_at for key, seen in self._live.sightings().items()}

    async def push(self, jwt: str) -> list[Answer]:
        """Hand an account JWT to every server.

        Args:
            jwt: Signed by the operator.

        Returns:
            An answer for each live server; of one that said nothing, that it did not apply it.
        """
        said: dict[str, Answer] = {}

        def add(body: bytes) -> None:
            answer = read_answer(body)
            if answer is not None:
                said[answer.server_id] = answer

        _, reached = await asyncio.gather(
            self._ping(),
            self._questions.ask(
                "$SYS.REQ.CLAIMS.UPDATE",
                jwt.encode(),
                add,
                lambda: self.awake() <= said.keys(),
                _PUSH_SECONDS,
            ),
        )
        why = "no answer" if reached else "nats-server can't be reached"
        for server in self.known():
            said.setdefault(server.id, Answer(server.id, server.name, applied=False, error=why))
        return sorted(said.values(), key=lambda answer: answer.name)

    async def operators(self) -> dict[Server, str]:
        """Each live server and the operator JWT that it was started with; empty if silent."""
        found: dict[Server, str] = {}

        def add(body: bytes) -> None:
            server = read_server(body)
            if server is not None:
                found[server] = read_operator(body)

        await self._questions.ask(
            "$SYS.REQ.SERVER.PING.VARZ",
            b"",
            add,
            lambda: self.awake() <= {server.id for server in found},
            _PING_SECONDS,
        )
        return dict.fromkeys(self.known(), "") | found

    async def lookups(self, account: str) -> list[str]:
        """What each server holds for an account, in no order; empty for one that has none.

        Args:
            account: The account's public key.
        """
        held: list[str] = []
        await self._questions.ask(
            f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP",
            b"",
            lambda body: held.append(body.decode("utf-8", "replace")),
            lambda: len(held) >= len(self.awake()),
            _PING_SECONDS,
            settle=0,
        )
        return held

    async def lookup(self, account: str) -> str | None:
        """The account JWT that the servers hold: the oldest one, where they differ.

        Args:
            account: The account's public key.

        Returns:
            None where a server has none, or nobody answers.
        """
        return min(await self.lookups(account), key=issued_at, default="") or None

    async def listed(self) -> dict[Server, frozenset[str]]:
        """The public keys of the accounts that each server holds a JWT for."""
        found: dict[Server, frozenset[str]] = {}

        def add(body: bytes) -> None:
            server = read_server(body)
            if server is not None:
                found[server] = read_list(body)

        await self._questions.ask(
            "$SYS.REQ.CLAIMS.LIST",
            b"",
            add,
            lambda: self.awake() <= {server.id for server in found},
            _PING_SECONDS,
        )
        return found

    async def connections(self, account: str, *, auth: bool = True) -> Listed:
        """Who is connected to which server; see ``connections``.

        Args:
            account: The account's public key; the system user may ask for the people's alone.
            auth: Whether to ask whose connections they are.
        """
        return await list_connections(self._questions, self._live, account, auth=auth)

    async def kick(self, server_id: str, cid: int) -> bool | None:
        """Close a connection; False where there is none, None where nobody answered."""
        return await close_connection(self._questions, server_id, cid)

    async def _ping(self) -> None:
        heard: set[str] = set()
        expected = self.awake()

        def add(body: bytes) -> None:
            server = read_server(body)
            if server is not None:
                heard.add(server.id)
                self._note(server)

        reached = await self._questions.ask(
            "$SYS.REQ.SERVER.PING",
            b"",
            add,
            lambda: bool(heard) and expected <= heard,
            _PING_SECONDS,
        )
        if reached and not expected <= heard:
            self._live.missed(expected - heard)
            self._questions.wake()

    async def _opened(self, client: Client) -> None:
        await client.subscribe(f"{self._inbox}.>", cb=self._on_answer)
        await client.subscribe("$SYS.SERVER.*.STATSZ", cb=self._on_statistics)
        await client.subscribe("$SYS.SERVER.*.SHUTDOWN", cb=self._on_shutdown)
        for subject, listener in self._listeners.items():
            await client.subscribe(subject, cb=listener)
        # What appeared while we were away is told by the answers, as it is by statistics.
        await client.publish("$SYS.REQ.SERVER.PING", b"", reply=f"{self._inbox}.opened")
        await client.flush(timeout=2)
        for callback in self._openings:
            callback()

    def _closed(self) -> None:
        self._questions.wake()

    async def _on_answer(self, message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        if self._questions.answer(number, message.data):
            return
        server = read_server(message.data)
        # It came back: we were away, or it was, and something may not have been pushed.
        if server is not None and not self._note(server) and number == "opened":
            self._tell(server)

    async def _on_statistics(self, message: Msg) -> None:
        server = read_server(message.data)
        if server is not None:
            self._note(server)
            statistics = read_statistics(message.data)
            if statistics is not None:
                self._statistics[server.id] = statistics

    async def _on_shutdown(self, message: Msg) -> None:
        self._live.left(message.subject.split(".")[2])

    def _note(self, server: Server) -> bool:
        news = self._live.note(server)
        if news:
            self._tell(server)
        return news

    def _tell(self, server: Server) -> None:
        for callback in self._callbacks:
            callback(server)


def issued_at(jwt: str) -> int:
    """``iat`` of an account JWT; -1 where there is none, or it can't be read."""
    try:
        return decode_account(jwt).issued_at
    except InvalidClaims:
        return -1
