"""AsyncClient: calls to other people's apps."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import orjson

from authsvc import subjects
from authsvc.errors import (
    DeadlineExceeded,
    Disconnected,
    InvalidInput,
    PayloadTooLarge,
    RpcError,
)
from authsvc.rpc import syftbox
from authsvc.rpc._calls import Call, Calls, ClientStats
from authsvc.rpc._connection import Connection
from authsvc.rpc._credentials import (
    CredentialSource,
    FileSource,
    KeyTypes,
    ServiceSource,
    TokenTypes,
    load_key,
)
from authsvc.rpc._messages import Headers, HeaderTypes, Response
from authsvc.rpc._session import Session
from authsvc.rpc._wire import Pairs, RequestFrame, encode_request

__all__ = ["AsyncClient", "Peer"]

_log = logging.getLogger(__name__)
_JSON: Pairs = (("content-type", "application/json"),)
_TEXT: Pairs = (("content-type", "text/plain; charset=utf-8"),)
_PLAIN_TARGET = re.compile(r"/[!-\"$-~]*")
_MAX_TIMEOUT = 366 * 86400.0


class AsyncClient:
    """A user on NATS: calls others' apps, and carries a Service.

    ``async with AsyncClient(...) as client:`` connects and closes. Without arguments, SyftBox's
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
    ) -> None:
        self._arguments = (url, token, key, creds, servers, method)
        self._check(source)
        self._source = source
        self._name = name
        self._session: Session | None = None
        self._calls: Calls | None = None
        self._services: set[Any] = set()
        self._stats = ClientStats()
        self._closed = False

    def _check(self, source: CredentialSource | None) -> None:
        url, token, key, creds, _, _ = self._arguments
        if source is not None:
            return
        if creds is not None and (url is not None or token is not None or key is not None):
            raise InvalidInput("creds= stands alone with servers=; leave url, token and key out")
        if creds is None and (url is None) != (token is None):
            raise InvalidInput("url= and token= belong together")

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
        """
        if self._closed:
            raise Disconnected("the client was closed; make a new one")
        if self._session is not None:
            return
        source = self._source or await self._make_source()
        calls = Calls(self._send_again, self._stats)
        session = Session(source, self, self._name or "authsvc.rpc")
        self._calls, self._session = calls, session
        try:
            await session.start()
            user = subjects.token(session.login.username)
            answers = f"responses.{user}.>"
            if session.login.app is not None:
                answers = f"responses.{user}.*.{subjects.token(session.login.app)}.>"
            await session.listen(answers, calls.receive)
            await session.listen(f"_INBOX.{user}.>", calls.receive_status)
        except BaseException:
            self._session = self._calls = None
            await session.stop()
            raise

    async def close(self) -> None:
        """Stop the services that run here, let go of calls, flush and close."""
        if self._closed:
            return
        self._closed = True
        for service in list(self._services):
            await service.stop()
        if self._calls is not None:
            self._calls.fail_all(Disconnected("the client was closed while the call was in flight"))
            self._calls.stop()
        if self._session is not None:
            await self._session.stop()

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
            raise Disconnected("not connected: use `async with AsyncClient(...)` or connect()")
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
            return Peer(self, url.username, url.app)
        if app is None:
            raise InvalidInput("which app? peer('bob@example.com', 'app')")
        return Peer(self, subjects.username(name), subjects.app_name(app))

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
        return await Peer(self, found.username, found.app).call(
            found.target,
            method=method,
            json=json,
            content=content,
            headers=headers,
            timeout=timeout,
            idempotent=idempotent,
        )

    # What the session reports.

    def session_lost(self) -> None:
        """The connection broke."""
        if self._calls is not None:
            self._calls.disconnected()

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

    def session_failed(self, error: RpcError) -> None:
        """There will be no connection any more."""
        if self._calls is not None:
            self._calls.fail_all(error)

    def attach(self, service: Any) -> None:
        """A service runs on this client."""
        self._services.add(service)

    def detach(self, service: Any) -> None:
        """It does no more."""
        self._services.discard(service)

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


class Peer:
    """One app of one user, to be called. Made by ``AsyncClient.peer``."""

    __slots__ = ("_client", "_end", "_subject", "app", "name")

    def __init__(self, client: AsyncClient, name: str, app: str) -> None:
        self._client = client
        self.name = name
        self.app = app
        me = client.username
        self._subject = subjects.Request(me, name, app).text
        self._end = self._subject[len("requests") :] + "."

    def __repr__(self) -> str:
        return f"<Peer {self.name} {self.app}>"

    async def call(
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
            Disconnected: The connection broke meanwhile.
            InvalidMessage: Method, target or headers can't travel.
        """
        client = self._client
        session, calls = client._session, client._calls  # noqa: SLF001  one object in two parts
        if session is None or calls is None or client._closed:  # noqa: SLF001
            raise Disconnected("not connected: use `async with AsyncClient(...)` or connect()")
        if not 0 < timeout <= _MAX_TIMEOUT:
            raise ValueError("timeout is a number of seconds above 0")
        connection = session.connection
        if connection is None:
            started = time.monotonic()
            connection = await _connected(session, timeout)
            timeout = max(0.001, timeout - (time.monotonic() - started))
        request_id = os.urandom(16).hex()
        body, pairs = _body(json, content, headers)
        now = int(time.time() * 1000)
        if not _PLAIN_TARGET.fullmatch(target):
            target = _target(target)
        payload = encode_request(
            RequestFrame(
                request_id, now, now + int(timeout * 1000), method.upper(), target, pairs, body
            )
        )
        if len(payload) > connection.limit:
            raise PayloadTooLarge(
                f"the request has {len(payload)} bytes, {connection.limit} at most"
            )
        end = self._end + request_id
        call = Call(
            self._subject,
            b"responses" + end.encode("ascii"),
            "_INBOX" + end,
            payload,
            idempotent=idempotent,
        )
        future = calls.open(call, timeout)
        try:
            connection.send(call.subject, call.reply, payload)
            if connection.congested:
                await connection.flow()
            return await future
        except BaseException:
            calls.close(call)
            if future.done() and not future.cancelled():
                future.exception()  # retrieved, whichever of the two is raised
            raise


async def _connected(session: Session, timeout: float) -> Connection:
    try:
        async with asyncio.timeout(timeout):
            return await session.usable()
    except TimeoutError as error:
        raise DeadlineExceeded("there was no connection to nats-server in time") from error


def _body(json: Any, content: bytes | str | None, headers: HeaderTypes) -> tuple[bytes, Pairs]:
    pairs = Headers(headers).pairs if headers else ()
    if json is not None:
        if content is not None:
            raise ValueError("json= or content=, not both")
        body, added = orjson.dumps(json), _JSON
    elif content is None:
        return b"", pairs
    elif isinstance(content, str):
        body, added = content.encode(), _TEXT
    else:
        return bytes(content), pairs
    if pairs and any(name == "content-type" for name, _ in pairs):
        return body, pairs
    return body, pairs + added if pairs else added


def _target(target: str) -> str:
    """The target with a slash in front, and percent-encoded what can't travel."""
    path = quote(target, safe="!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return path if path.startswith("/") else "/" + path
