"""What handlers and callers see: Headers, Request, Response."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload
from urllib.parse import quote

import orjson

from authsvc.errors import RemoteError
from authsvc.rpc._messages.payloads import json_bytes, read_as
from authsvc.rpc._wire.frames import Pairs, RequestFrame, header_pairs

__all__ = ["HeaderTypes", "Headers", "Request", "Response", "travelling"]

HeaderTypes = Mapping[str, str] | Iterable[tuple[str, str]]

_JSON: Pairs = (("content-type", "application/json"),)
_TEXT: Pairs = (("content-type", "text/plain; charset=utf-8"),)
_SUCCESS = range(200, 300)
_M = TypeVar("_M")
_PLAIN_TARGET = re.compile(r"/[!-\"$-~]*")


def travelling(target: str) -> str:
    """A target with a slash in front, and percent-encoded what can't travel."""
    if not _PLAIN_TARGET.fullmatch(target):
        target = quote(target, safe="!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return target if target.startswith("/") else "/" + target


class Headers(Mapping[str, str]):
    """Headers of a message: names in any case, a name may stand more than once.

    Args:
        headers: A mapping, or pairs where a name repeats.

    Raises:
        InvalidMessage: A name or value can't travel.
    """

    __slots__ = ("pairs",)

    pairs: Pairs

    def __init__(self, headers: HeaderTypes = ()) -> None:
        if isinstance(headers, Headers):
            self.pairs = headers.pairs
        else:
            found = headers.items() if isinstance(headers, Mapping) else headers
            self.pairs = header_pairs(found)

    @classmethod
    def checked(cls, pairs: Pairs) -> Headers:
        """Headers from pairs that the wire format has checked already."""
        self = cls.__new__(cls)
        self.pairs = pairs
        return self

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def get_all(self, name: str) -> list[str]:
        """Every value of this name, in the order they came."""
        name = name.lower()
        return [value for key, value in self.pairs if key == name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.pairs))

    def __len__(self) -> int:
        return len(dict(self.pairs))

    def __repr__(self) -> str:
        return f"Headers({list(self.pairs)!r})"


class _Body:
    """What requests and responses have in common."""

    __slots__ = ("_headers", "content")

    content: bytes
    _headers: Headers | Pairs

    @property
    def headers(self) -> Headers:
        """The headers."""
        if isinstance(self._headers, tuple):
            self._headers = Headers.checked(self._headers)
        return self._headers

    @property
    def pairs(self) -> Pairs:
        """The headers in the form that travels."""
        return self._headers if isinstance(self._headers, tuple) else self._headers.pairs

    @property
    def text(self) -> str:
        """The body as UTF-8 text; what is no UTF-8 shows as U+FFFD."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            ValueError: It is not JSON.
        """
        return orjson.loads(self.content)

    @overload
    def model(self, kind: type[_M]) -> _M: ...

    @overload
    def model(self, kind: Any) -> Any: ...

    def model(self, kind: Any) -> Any:
        """The body, read as JSON and validated by pydantic.

        Args:
            kind: A pydantic model, or what else pydantic knows: ``list[Model]``, a dataclass.

        Raises:
            ValueError: It is not JSON, or not of this kind: pydantic's ValidationError.
            TypeError: pydantic is not installed.
        """
        return read_as(kind, self.content)


class Request(_Body):
    """A request, as its handler sees it.

    ``requester`` is proven: nats-server lets nobody but that user publish on the subject that
    the request came by. Nothing in headers or body proves anything. ``sent`` and
    ``deadline`` are when it left and when the requester stops waiting, in ms since the epoch by
    its clock; ``expires`` is the latter on ``time.monotonic()`` here.

    Args:
        requester: The canonical name of who calls.
        app: The app that is called.
        frame: What travelled.
        arrived: When it came, on ``time.monotonic()``.
    """

    __slots__ = ("app", "deadline", "expires", "id", "method", "requester", "sent", "target")

    streamed = False
    """Whether its body may come in chunks; see ``stream``."""

    def __init__(self, requester: str, app: str, frame: RequestFrame, arrived: float) -> None:
        self.requester = requester
        self.app = app
        (
            self.id,
            self.sent,
            self.deadline,
            self.method,
            self.target,
            self._headers,
            self.content,
        ) = frame
        self.expires = arrived + (self.deadline - self.sent) / 1000

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows ``?`` in the target."""
        return self.target.partition("?")[2]

    async def read(self) -> bytes:
        """The whole body, which a Service subclass with a ``respond`` of its own must wait for.

        Handlers need not: their body is there.

        Raises:
            PayloadTooLarge: It is larger than is held at once (64 MiB).
            Disconnected: The requester gave up before it had come.
        """
        return self.content

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces as they come; once."""
        if self.content:
            yield self.content

    @property
    def sender(self) -> str:
        """``requester``, by the name that syft-event gives it."""
        return self.requester

    @property
    def body(self) -> bytes:
        """``content``, by the name that syft-event gives it."""
        return self.content

    def remaining(self) -> float:
        """Seconds until the requester stops waiting; 0 when it has, or has given up."""
        return max(0.0, self.expires - time.monotonic())

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.target} from {self.requester}>"


class Response(_Body):
    """An answer: what a handler may return, and what a call returns.

    Args:
        content: bytes, or str (sent as UTF-8), or anything JSON can hold, pydantic models
            included.
        status: From 200 to 599.
        headers: ``content-type`` is added for str and JSON where it is not given.

    Raises:
        InvalidMessage: A header can't travel.
        TypeError: The content is nothing that JSON can hold.
    """

    __slots__ = ("id", "status")

    streamed = False
    """Whether its body is still to come, and only the caller reads it."""

    def __init__(self, content: Any = b"", status: int = 200, headers: HeaderTypes = ()) -> None:
        self.id = ""
        self.status = status
        pairs = Headers(headers).pairs if headers else ()
        if isinstance(content, bytes):
            self.content = content
            added: Pairs = ()
        elif isinstance(content, str):
            self.content, added = content.encode(), _TEXT
        elif content is None:
            self.content, added = b"", ()
        else:
            self.content, added = json_bytes(content), _JSON
        if added and not any(name == "content-type" for name, _ in pairs):
            pairs += added
        self._headers = pairs

    @classmethod
    def received(cls, request_id: str, status: int, pairs: Pairs, content: bytes) -> Response:
        """An answer from its checked parts."""
        self = cls.__new__(cls)
        self.id = request_id
        self.status = status
        self._headers = pairs
        self.content = content
        return self

    @property
    def status_code(self) -> int:
        """``status``, by the name that httpx and syft-rpc give it."""
        return self.status

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.status in _SUCCESS

    def raise_for_status(self) -> Response:
        """This response, if its status is below 400.

        Raises:
            RemoteError: The responder answered with an error.
        """
        if self.status >= 400:  # noqa: PLR2004  HTTP's error statuses
            raise RemoteError(self.status, self.content)
        return self

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.content)} bytes>"
