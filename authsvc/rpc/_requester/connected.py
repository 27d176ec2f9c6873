"""A client's session, from the log-in to its end, and what it reports meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import Any

from authsvc import subjects
from authsvc.errors import Disconnected, InvalidInput, RpcError
from authsvc.rpc import syftbox
from authsvc.rpc._calls.call import Call
from authsvc.rpc._calls.calls import Calls, ClientStats
from authsvc.rpc._calls.mailbox import Mailbox
from authsvc.rpc._responder.signed import SignedCalls
from authsvc.rpc._session.credentials import (
    CredentialSource,
    FileSource,
    ServiceSource,
    TokenTypes,
)
from authsvc.rpc._session.keys import KeyTypes, load_key
from authsvc.rpc._session.session import Session
from authsvc.rpc._session.trust import Trust

__all__ = ["Arguments", "Connected"]

_LISTEN_SECONDS = 10.0

Arguments = tuple[
    str | None,
    TokenTypes | None,
    KeyTypes,
    str | os.PathLike[str] | None,
    Sequence[str],
    str | None,
]
"""A client's ``url``, ``token``, ``key``, ``creds``, ``servers`` and ``method``."""


class Connected:
    """Session, calls and mailbox of a client, which are there while it is connected.

    Args:
        arguments: How a credential is had.
        source: A credential source, in their place.
        name: What credential and connection are called in lists.
        sign: Whether requests are signed.
        require_signed: Whether only signed answers count.
        trusted_issuers: Further accounts whose signatures count.

    Raises:
        InvalidInput: The arguments don't fit together.
    """

    def __init__(
        self,
        arguments: Arguments,
        source: CredentialSource | None,
        name: str | None,
        *,
        sign: bool,
        require_signed: bool,
        trusted_issuers: Iterable[str],
    ) -> None:
        self._arguments = arguments
        self._check(source)
        self._source = source
        self._name = name
        self._sign = sign
        self._require_signed = require_signed
        self.trust = Trust(trusted_issuers)
        self._session: Session | None = None
        self._calls: Calls | None = None
        self._mailbox: Mailbox | None = None
        self._services: set[Any] = set()
        self._stats = ClientStats()
        self._change = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None
        self._closed = False

    def _check(self, source: CredentialSource | None) -> None:
        url, token, key, creds, _, _ = self._arguments
        if source is not None:
            return
        if creds is not None and (url is not None or token is not None or key is not None):
            raise InvalidInput("creds= stands alone with servers=; leave url, token and key out")
        if creds is None and (url is None) != (token is None):
            raise InvalidInput("url= and token= belong together")

    async def _connect(self) -> None:
        source = self._source or await self._make_source()
        session = self._session_of(source)
        calls = Calls(self._send_again, self._stats)
        if self._require_signed:
            calls = SignedCalls(self._send_again, self._stats, self.trust)
        self.trust.begin(session, source)
        self._calls, self._session = calls, session
        try:
            await session.start()
            calls.stored = self._mailbox = Mailbox(session, self._stats)
            self._mailbox.signs = self._sign
            await self._listen(session, calls)
        except BaseException:
            self._session = self._calls = self._mailbox = None
            await session.stop()
            raise

    def _session_of(self, source: CredentialSource) -> Session:
        """The session that this client is to have; authsvc.rpc.testing has others."""
        return Session(source, self, self._name or "authsvc.rpc")

    @staticmethod
    async def _listen(session: Session, calls: Calls) -> None:
        user = subjects.token(session.login.username)
        answers = f"responses.{user}.>"
        if session.login.app is not None:
            answers = f"responses.{user}.*.{subjects.token(session.login.app)}.>"
        try:
            async with asyncio.timeout(_LISTEN_SECONDS):
                await session.listen(answers, calls.receive)
                # By the reply subjects of live calls only; the rest of the inbox is the mailbox's.
                await session.listen(f"_INBOX.{user}.*.*.*", calls.receive_status)
        except TimeoutError as error:
            raise Disconnected("nats-server went away while the client connected") from error

    async def _close(self) -> None:
        async with self._change:
            try:
                # What they still handle may call others.
                for service in list(self._services):
                    await service.stop()
            finally:
                self._closed = True
                if self._calls is not None:
                    self._calls.fail_all(
                        Disconnected("the client was closed while the call was in flight")
                    )
                    self._calls.stop()
                if self._mailbox is not None:
                    self._mailbox.stop(
                        Disconnected("the client was closed while the answer was waited for")
                    )
                if self._session is not None:
                    await self._session.stop()

    def _not_connected(self) -> Disconnected:
        if self._closed:
            return Disconnected("the client was closed; make a new one")
        return Disconnected("not connected: use `async with AsyncClient(...)` or connect()")

    def _send_again(self, call: Call) -> bool:
        connection = self._session.connection if self._session is not None else None
        if connection is not None:
            connection.send(call.subject, call.reply, call.payload)
        return connection is not None

    async def _make_source(self) -> CredentialSource:
        url, token, key, creds, servers, method = self._arguments
        if creds is not None:
            return FileSource(creds, servers)
        if url is not None and token is not None:
            pair = await asyncio.to_thread(load_key, key)
            return ServiceSource(
                url, token, pair, method=method, name=self._name, servers=list(servers)
            )
        return await asyncio.to_thread(syftbox.source, key=key, servers=servers, name=self._name)

    # What the session reports.

    def session_lost(self, *, refused: bool = False) -> None:
        """The connection broke."""
        if self._calls is not None:
            self._calls.disconnected(hold=refused)

    def session_ready(self, *, renewed: bool) -> None:
        """There is a connection again."""
        if renewed:
            self._stats.renewals += 1
        else:
            self._stats.reconnects += 1
        if self._calls is not None:
            self._calls.resend()

    def session_refused(self, action: str, subject: str) -> None:
        """nats-server refused an action."""
        if action == "publish" and self._calls is not None:
            self._calls.refused(subject)
            if self._mailbox is not None:
                self._mailbox.refused(subject)

    def session_failed(self, error: RpcError) -> None:
        """There will be no connection any more."""
        if self._calls is not None:
            self._calls.fail_all(error)
