"""Which headers go on and which do not, where HTTP meets NATS. Pure.

Source: RFC 9110 section 7.6.1 (Connection), RFC 9112 section 6 (message bodies).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from authsvc.rpc._wire.frames import Pairs

__all__ = [
    "REQUEST_ID",
    "USER",
    "caller_value",
    "content_length",
    "end_to_end",
    "has_body",
    "is_callers",
    "plain_name",
]

USER, REQUEST_ID = "x-syft-user", "x-syft-request-id"
"""By these an app learns who calls; what a client sends under such names is dropped."""

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        # A signature is of the message that it came with.
        "authsvc-jwt",
        "authsvc-signature",
    }
)
_SIGN = re.compile(r"[^a-z0-9]")
_LENGTH = re.compile(r"[0-9]{1,15}")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
_BODILESS = {204, 205, 304}


@lru_cache(1024)
def plain_name(name: str) -> str:
    """A header's name as gateways see it: they make one sign of all that is no letter or digit."""
    return _SIGN.sub("-", name.lower())


def is_callers(name: str) -> bool:
    """Whether a header's name is one of ours, however it is spelled."""
    return plain_name(name) in {USER, REQUEST_ID}


@lru_cache(4096)
def caller_value(username: str) -> str:
    """A username as a header's value: as it is, but for ``%`` and what is not ASCII (RFC 3986)."""
    return quote(username, safe=_VISIBLE)


def end_to_end(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """The headers without those that belong to one connection; names are in lower case."""
    found = tuple(pair for pair in pairs if pair[0] not in _HOP_BY_HOP)
    named = [value for name, value in pairs if name == "connection"]
    if not named:
        return found
    listed = {part.strip().lower() for value in named for part in value.split(",")}
    return tuple(pair for pair in found if pair[0] not in listed)


def content_length(pairs: Iterable[tuple[str, str]]) -> int | None:
    """What ``content-length`` says; None if there is none.

    Raises:
        ValueError: It stands there more than once, or is no number.
    """
    found = [value for name, value in pairs if name == "content-length"]
    if not found:
        return None
    if len(found) > 1 or not _LENGTH.fullmatch(found[0]):
        raise ValueError("one content-length with a number is what a message may have")
    return int(found[0])


def has_body(method: str, status: int) -> bool:
    """Whether a response to such a request has a body."""
    return method != "HEAD" and status not in _BODILESS
