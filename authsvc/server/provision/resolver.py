"""Account JWTs handed to every nats-server, over the system account, by a narrow user.

    resolver = Resolver(urls, jwt, key)
    await resolver.connect()
    answers = await resolver.push(account_jwt)      # one for each live server
    await resolver.lookup(account_key)

A server confirms a push by its answer, and answers 200 for an older JWT too, so a push is
followed by a look-up. Which servers there are is known from their answers to pings and from the
statistics that each sends every ten seconds and a quarter second after it starts; one that fell
silent counts as live for a while, so that what it missed is not called done.

Source: nats-server, server/accounts.go (DirAccResolver) and server/events.go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authsvc.claims import decode_account
from authsvc.errors import InvalidClaims
from authsvc.server.provision.accounts import SYSTEM_USER
from authsvc.server.provision.answers import Answer, Server, read_answer, read_operator, read_server
from authsvc.server.provision.connection import Connection
from authsvc.subjects import inbox_prefix

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from authsvc.nkey import KeyPair

__all__ = ["Answer", "Resolver", "Server"]

_SILENT_SECONDS = 25.0
"""Servers speak every ten seconds; two times missed, and one is gone."""
_PING_SECONDS = 1.0
_PUSH_SECONDS = 3.0
_SETTLE_SECONDS = 0.03
_FIRST_SETTLE_SECONDS = 0.25

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    server: Server
    at: float


class Resolver:
    """The way to every server's account resolver.

    Args:
        urls: Of some servers of the cluster.
        jwt: The system user's JWT; see ``accounts.system_user``.
        key: Its nkey.
        name: Its name.
        tls: For ``tls://``; the system's authorities if None.
    """

    def __init__(
        self,
        urls: Sequence[str],
        jwt: str,
        key: KeyPair,
        *,
        name: str = SYSTEM_USER,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connection = Connection(urls, jwt, key, name=name, on_open=self._opened, tls=tls)
        self._inbox = inbox_prefix(name)
        self._known: dict[str, _Seen] = {}
        self._questions: dict[str, asyncio.Queue[bytes]] = {}
        self._count = 0
        self._callbacks: list[Callable[[Server], None]] = []

    @property
    def connected(self) -> bool:
        """Whether a server can be asked now."""
        return self._connection.client is not None

    @property
    def error(self) -> str | None:
        """Why there is no connection; None while there is one."""
        return self._connection.error

    def on_server(self, callback: Callable[[Server], None]) -> None:
        """Be told of every server that appears, restarts or comes back."""
        self._callbacks.append(callback)

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
        """The live servers, by name; none while there is no connection.

        One that has just fallen silent is still among them.
        """
        await self._ping()
        return self._live()

    async def push(self, jwt: str) -> list[Answer]:
        """Hand an account JWT to every server.

        Args:
            jwt: Signed by the operator.

        Returns:
            An answer for each live server; of one that said nothing, that it did not apply it.
        """
        said: dict[str, Answer] = {}

        def add(body: bytes) -> bool:
            answer = read_answer(body)
            if answer is not None:
                said[answer.server_id] = answer
            return all(seen.id in said for seen in self._live())

        _, reached = await asyncio.gather(
            self._ping(),
            self._ask("$SYS.REQ.CLAIMS.UPDATE", jwt.encode(), add, _PUSH_SECONDS),
        )
        why = "no answer" if reached else "nats-server can't be reached"
        for server in self._live():
            said.setdefault(server.id, Answer(server.id, server.name, applied=False, error=why))
        return sorted(said.values(), key=lambda answer: answer.name)

    async def operators(self) -> dict[Server, str]:
        """Each live server and the operator JWT that it was started with; empty if silent."""
        found: dict[Server, str] = {}

        def add(body: bytes) -> bool:
            server = read_server(body)
            if server is not None:
                found[server] = read_operator(body)
            return {server.id for server in self._live()} <= {server.id for server in found}

        await self._ask("$SYS.REQ.SERVER.PING.VARZ", b"", add, _PING_SECONDS)
        return dict.fromkeys(self._live(), "") | found

    async def lookup(self, account: str) -> str | None:
        """The account JWT that the servers hold: the oldest one, where they differ.

        Args:
            account: The account's public key.

        Returns:
            None where a server has none, or nobody answers.
        """
        held: list[str] = []

        def add(body: bytes) -> bool:
            held.append(body.decode("utf-8", "replace"))
            return len(held) >= len(self._live())

        await self._ask(f"$SYS.REQ.ACCOUNT.{account}.CLAIMS.LOOKUP", b"", add, _PING_SECONDS)
        return min(held, key=_issued_at, default="") or None

    def _live(self) -> list[Server]:
        limit = time.monotonic() - _SILENT_SECONDS
        for gone in [key for key, seen in self._known.items() if seen.at < limit]:
            del self._known[gone]
        return sorted((seen.server for seen in self._known.values()), key=lambda it: it.name)

    async def _ping(self) -> None:
        heard: set[str] = set()
        expected = {server.id for server in self._live()}

        def add(body: bytes) -> bool:
            server = read_server(body)
            if server is not None:
                heard.add(server.id)
                self._note(server)
            return bool(expected) and expected <= heard

        await self._ask("$SYS.REQ.SERVER.PING", b"", add, _PING_SECONDS)

    async def _ask(
        self, subject: str, body: bytes, add: Callable[[bytes], bool], seconds: float
    ) -> bool:
        """Ask all servers.

        Args:
            subject: Where they listen.
            body: What to ask.
            add: Takes each answer; true when all that are expected have answered.
            seconds: How long to wait for them.

        Returns:
            Whether the question could be sent.
        """
        client = self._connection.client
        if client is None:
            return False
        self._count += 1
        number = str(self._count)
        answers = self._questions[number] = asyncio.Queue()
        try:
            await client.publish(subject, body, reply=f"{self._inbox}.{number}")
            # Whom nobody knew of may answer too, so a moment is left for more.
            await _collect(answers, add, seconds, first_settle=not self._known)
        except Exception as error:  # noqa: BLE001  nats-py raises many kinds; all mean: not sent
            log.warning("%s: %s", subject, error)
            return False
        finally:
            del self._questions[number]
        return True

    async def _opened(self, client: Client) -> None:
        await client.subscribe(f"{self._inbox}.>", cb=self._on_answer)
        await client.subscribe("$SYS.SERVER.*.STATSZ", cb=self._on_statistics)
        await client.subscribe("$SYS.SERVER.*.SHUTDOWN", cb=self._on_shutdown)
        # What appeared while we were away is told by the answers, as it is by statistics.
        await client.publish("$SYS.REQ.SERVER.PING", b"", reply=f"{self._inbox}.opened")
        await client.flush(timeout=2)

    async def _on_answer(self, message: Msg) -> None:
        number = message.subject.rpartition(".")[2]
        if number in self._questions:
            self._questions[number].put_nowait(message.data)
        elif number == "opened":
            await self._on_statistics(message)

    async def _on_statistics(self, message: Msg) -> None:
        server = read_server(message.data)
        if server is not None:
            self._note(server)

    async def _on_shutdown(self, message: Msg) -> None:
        self._known.pop(message.subject.split(".")[2], None)

    def _note(self, server: Server) -> None:
        self._live()
        new = server.id not in self._known
        if new:
            # Names are unique: the same name with a new id is the same server started again.
            for key, seen in list(self._known.items()):
                if seen.server.name == server.name:
                    del self._known[key]
        self._known[server.id] = _Seen(server, time.monotonic())
        if new:
            for callback in self._callbacks:
                callback(server)


async def _collect(
    answers: asyncio.Queue[bytes],
    add: Callable[[bytes], bool],
    seconds: float,
    *,
    first_settle: bool,
) -> None:
    settle = _FIRST_SETTLE_SECONDS if first_settle else _SETTLE_SECONDS
    loop = asyncio.get_running_loop()
    limit = loop.time() + seconds
    until = limit
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout_at(until):
                complete = add(await answers.get())
            if complete or first_settle:
                until = min(limit, loop.time() + settle)


def _issued_at(jwt: str) -> int:
    """Of an account JWT; lower than any other where there is none, or it can't be read."""
    try:
        return decode_account(jwt).issued_at
    except InvalidClaims:
        return -1
