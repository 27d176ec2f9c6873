"""The shapes that a syft-rpc user knows, over Client and stored calls."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol

from authsvc.errors import DeadlineExceeded, Expired, PermissionDenied, RpcError
from authsvc.rpc._messages.message import Headers, HeaderTypes, Response
from authsvc.rpc._syft.response import SyftResponse, SyftStatus
from authsvc.rpc._syftbox.url import SyftUrl
from authsvc.rpc._sync.client import Client

__all__ = ["SyftBulkFuture", "SyftFuture", "broadcast", "make_url", "send"]

_EXPIRY = "15m"
_SECONDS = 300.0
_SHORTEST_SECONDS = 0.001
_SENDERS = 16


class Stored(Protocol):
    """What ``submit`` returns on the blocking side."""

    @property
    def id(self) -> str:
        """What it is found again by."""

    @property
    def deadline(self) -> int:
        """When the request is not handled any more, in ms since the epoch."""

    def done(self) -> bool:
        """Whether ``result`` would return or raise at once."""

    def result(self, timeout: float | None = None) -> Response:
        """The answer."""


class SyftFuture:
    """The answer to a request that was sent, whenever it comes.

    ``expires`` is when the request is not handled any more.

    Args:
        url: What was called.
        future: What ``submit`` returned; None if the request was refused.
        response: The answer, if it is known already.
    """

    __slots__ = ("_future", "_response", "expires", "url")

    def __init__(
        self, url: SyftUrl, future: Stored | None, response: SyftResponse | None = None
    ) -> None:
        self.url = url
        self._future = future
        self._response = response
        now = time.time()
        self.expires = datetime.fromtimestamp(future.deadline / 1000 if future else now, UTC)

    @property
    def id(self) -> str:
        """What ``client.future`` finds it by, in another process too; empty if it was refused."""
        return "" if self._future is None else self._future.id

    @property
    def is_expired(self) -> bool:
        """Whether the request is not handled any more."""
        return datetime.now(UTC) >= self.expires

    @property
    def is_rejected(self) -> bool:
        """Whether it is known that the request was refused: status 403."""
        found = self._response
        return found is not None and found.status_code == SyftStatus.SYFT_403_FORBIDDEN

    @property
    def known(self) -> SyftResponse | None:
        """The answer, if ``wait`` or ``resolve`` found it."""
        return self._response

    def resolve(self) -> SyftResponse | None:
        """The answer if it is there, without waiting for it.

        Raises:
            RpcError: The mailbox can't be read.
        """
        if self._response is None and self._future is not None and self._future.done():
            return self.wait()
        return self._response

    def wait(self, timeout: float | None = _SECONDS) -> SyftResponse:
        """Wait for the answer; one with status 419 if the request's time is over.

        Args:
            timeout: Seconds; until the request expires if None.

        Raises:
            DeadlineExceeded: There was no answer in so many seconds; one may still come.
            RpcError: No answer can be had any more.
        """
        if timeout is not None and timeout <= 0:
            raise ValueError("timeout is a number of seconds above 0")
        if self._response is None:
            self._response = self._outcome(timeout)
        return self._response

    def _outcome(self, timeout: float | None) -> SyftResponse:
        assert self._future is not None  # noqa: S101  without one there is a response
        try:
            return SyftResponse(self.url, self._future.result(timeout))
        except (Expired, PermissionDenied) as error:
            return SyftResponse.made_up(self.url, error)

    def __repr__(self) -> str:
        return f"<SyftFuture {self.url}>"


class SyftBulkFuture:
    """The answers to a request that was sent to many.

    Args:
        futures: One for each, in the order of their URLs.
    """

    __slots__ = ("futures",)

    def __init__(self, futures: Iterable[SyftFuture]) -> None:
        self.futures = list(futures)

    @property
    def responses(self) -> list[SyftResponse]:
        """The answers that are known, in the order of the URLs."""
        return [future.known for future in self.futures if future.known is not None]

    @property
    def pending(self) -> list[SyftFuture]:
        """Those whose answer is not known."""
        return [future for future in self.futures if future.known is None]

    @property
    def successes(self) -> list[SyftResponse]:
        """The answers with a status of 2xx."""
        return [response for response in self.responses if response.is_success]

    @property
    def failures(self) -> list[SyftResponse]:
        """The other answers."""
        return [response for response in self.responses if not response.is_success]

    @property
    def all_failed(self) -> bool:
        """Whether each is answered, and none with a status of 2xx."""
        return len(self.failures) == len(self.futures)

    def resolve(self) -> None:
        """Take the answers that are there, without waiting for more."""
        for future in self.pending:
            future.resolve()

    def gather_completed(self, timeout: float | None = _SECONDS) -> list[SyftResponse]:
        """Wait for all answers; those that came in time, in the order of the URLs.

        Args:
            timeout: Seconds for all of them; until the requests expire if None.
        """
        end = None if timeout is None else time.monotonic() + timeout
        for future in self.pending:
            left = None if end is None else max(_SHORTEST_SECONDS, end - time.monotonic())
            with contextlib.suppress(DeadlineExceeded):
                future.wait(left)
        return self.responses


def make_url(datasite: str, app_name: str, endpoint: str) -> str:
    """``syft://{datasite}/app_data/{app_name}/rpc/{endpoint}``.

    Raises:
        InvalidName: The contract refuses a name.
    """
    return str(SyftUrl.of(datasite, app_name, endpoint))


def send(
    url: str | SyftUrl,
    method: str = "POST",
    body: Any = None,
    headers: HeaderTypes | None = None,
    expiry: str = _EXPIRY,
    *,
    client: Client | None = None,
) -> SyftFuture:
    """Store a request for its responder, who may be away, and return when that is confirmed.

    Args:
        url: A ``syft://`` URL.
        method: The method.
        body: bytes, str, or what JSON can hold, pydantic models and dataclasses included.
        headers: More headers.
        expiry: How long the request may wait, such as ``15m``: ``d``, ``h``, ``m``, ``s``.
        client: Who sends; one for the whole process, by SyftBox's configuration, if None.

    Raises:
        NoResponder: The app takes no stored requests.
        PermissionDenied: It was refused.
        Backlogged: As many requests of this pair wait as may wait.
        InvalidInput: ``url`` or ``expiry`` is none.
        RpcError: As ``submit`` does.
    """
    found = url if isinstance(url, SyftUrl) else SyftUrl.parse(str(url))
    peer = (client or _default_client()).peer(found.username, found.app)
    method = getattr(method, "value", method)
    more = Headers(headers or {})
    if hasattr(body, "model_dump_json"):
        if "content-type" not in more:
            more = Headers([*more.pairs, ("content-type", "application/json")])
        body = body.model_dump_json()
    if isinstance(body, str | bytes):
        future = peer.submit(
            found.target, method=method, content=body, headers=more, expires=expiry
        )
    else:
        future = peer.submit(found.target, method=method, json=body, headers=more, expires=expiry)
    return SyftFuture(found, future)


def broadcast(
    urls: Iterable[str | SyftUrl],
    body: Any = None,
    headers: HeaderTypes | None = None,
    expiry: str = _EXPIRY,
    *,
    client: Client | None = None,
    method: str = "POST",
) -> SyftBulkFuture:
    """Send the same to many; one that is refused is a future with an answer, and stops no other.

    Its status is 403 (refused), 404 (the app takes no stored requests), 413 (too large) or 429
    (as many wait as may).

    Args:
        urls: Their ``syft://`` URLs.
        body: As for ``send``; so are the others.
        headers: More headers.
        expiry: How long the requests may wait.
        client: Who sends.
        method: The method.

    Raises:
        InvalidInput: A URL or ``expiry`` is none; nothing was sent then.
        RpcError: There is no connection; some may have been sent.
    """
    found = [url if isinstance(url, SyftUrl) else SyftUrl.parse(str(url)) for url in urls]
    client = client or _default_client()

    def sent(url: SyftUrl) -> SyftFuture:
        try:
            return send(url, method, body, headers, expiry, client=client)
        except RpcError as error:
            if SyftResponse.status_of(error) is None:
                raise
            return SyftFuture(url, None, SyftResponse.made_up(url, error))

    with ThreadPoolExecutor(_SENDERS) as pool:
        return SyftBulkFuture(pool.map(sent, found))


_lock = threading.Lock()
_clients: dict[int, Client] = {}


def _default_client() -> Client:
    """The process's own client, connected at the first use; a forked process makes another."""
    with _lock:
        client = _clients.get(os.getpid())
        if client is None:
            client = Client()
            client.connect()
            _clients[os.getpid()] = client
        return client
