"""What a caller says of a request, in the form that travels: its target, its body."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from authsvc.rpc._messages.message import Headers, HeaderTypes, travelling
from authsvc.rpc._messages.payloads import json_bytes
from authsvc.rpc._wire.frames import Pairs, call_line

__all__ = ["body_of", "line_of", "target_of"]

_JSON: Pairs = (("content-type", "application/json"),)
_TEXT: Pairs = (("content-type", "text/plain; charset=utf-8"),)


def body_of(json: Any, content: bytes | str | None, headers: HeaderTypes) -> tuple[bytes, Pairs]:
    """The bytes of a body, and the headers with its content type.

    Raises:
        TypeError: ``content`` is neither bytes nor str, or ``json`` nothing JSON can hold.
        ValueError: Both are given.
    """
    pairs = Headers(headers).pairs if headers else ()
    if json is not None:
        if content is not None:
            raise ValueError("json= or content=, not both")
        body, added = json_bytes(json), _JSON
    elif content is None:
        return b"", pairs
    elif isinstance(content, str):
        body, added = content.encode(), _TEXT
    elif isinstance(content, bytes | bytearray | memoryview):
        return bytes(content), pairs
    else:
        raise TypeError("content= is bytes or str; json= sends what else JSON can hold")
    if pairs and any(name == "content-type" for name, _ in pairs):
        return body, pairs
    return body, pairs + added if pairs else added


target_of = lru_cache(256)(travelling)
"""A target in the form that travels; see ``travelling``."""


@lru_cache(256)
def line_of(method: str, target: str) -> bytes:
    """Method and target, in any form, as they stand in a request's first line.

    Raises:
        InvalidMessage: One of them can't travel.
    """
    return call_line(method.upper(), target_of(target))
