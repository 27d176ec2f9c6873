"""What an ASGI application learns of a request, and what its response's headers say.

Source: the ASGI specification, HTTP connection scope, spec version 2.4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from authsvc import subjects
from authsvc.rpc._messages.message import Request
from authsvc.rpc._wire.forwarding import (
    REQUEST_ID,
    USER,
    caller_value,
    content_length,
    end_to_end,
    is_callers,
)
from authsvc.rpc._wire.frames import Pairs, header_pairs

__all__ = [
    "AnswerHeaders",
    "AsgiApp",
    "CallHeaders",
    "Message",
    "http_scope",
    "request_headers",
    "response_headers",
]

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[Message]],
        Callable[[Message], Awaitable[None]],
    ],
    Awaitable[None],
]

_USER, _REQUEST_ID = USER.encode(), REQUEST_ID.encode()
_ASGI = {"version": "3.0", "spec_version": "2.4"}


class CallHeaders(NamedTuple):
    """A request's headers for an application: without those that go no further, and its length."""

    raw: tuple[tuple[bytes, bytes], ...]
    length: int | None
    wrong: str


class AnswerHeaders(NamedTuple):
    """A response's headers as they travel, and the length of its body, where it has one."""

    pairs: Pairs
    length: int | None


@lru_cache(1024)
def request_headers(pairs: Pairs) -> CallHeaders:
    """A request's headers in the form that an application gets."""
    kept = [pair for pair in end_to_end(pairs) if not is_callers(pair[0])]
    raw = tuple(
        (name.encode("ascii"), value.encode("latin-1"))
        for name, value in kept
        if name != "content-length"
    )
    try:
        return CallHeaders(raw, content_length(kept), "")
    except ValueError as error:
        return CallHeaders(raw, None, str(error))


@lru_cache(1024)
def response_headers(raw: tuple[tuple[bytes, bytes], ...], *, body: bool) -> AnswerHeaders:
    """An application's headers in the form that travels, and what they say of a body.

    Raises:
        InvalidMessage: One can't travel.
        ValueError: The length is none.
    """
    decoded = (
        (bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in raw
    )
    pairs = end_to_end(header_pairs(decoded))
    return AnswerHeaders(pairs, content_length(pairs) if body else None)


def http_scope(
    request: Request, raw: Iterable[tuple[bytes, bytes]], state: dict[str, Any]
) -> dict[str, Any]:
    """What an application learns about a request.

    Args:
        request: The request.
        raw: Its headers, without those that go no further.
        state: What the application's lifespan left.
    """
    headers = [
        *raw,
        (_USER, caller_value(request.requester).encode("ascii")),
        (_REQUEST_ID, request.id.encode("ascii")),
    ]
    path, _, query = request.target.partition("?")
    return {
        "type": "http",
        "asgi": _ASGI.copy(),
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": headers,
        # Never an address, so nobody is taken for somebody on this machine.
        "client": (subjects.token(request.requester), 0),
        "server": None,
        "state": state.copy(),
        "extensions": {
            "authsvc": {"requester": request.requester, "app": request.app, "id": request.id}
        },
    }
