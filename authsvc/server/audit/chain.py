"""How events are sealed, without I/O: their encoding, their MACs, and the links of the chain.

Each event has a leaf: its ``seq`` and an HMAC over all of its columns but ``batch``. A seal's
digest is an HMAC over the seal's own columns, the digest of the seal before, and the leaves. So
who writes to the database, and has no master key, can't make a chain that holds; and the leaves
tell which event it was.

The encoding is a JSON array, members of objects sorted: two different rows never encode alike.
Text that both databases would read back differently (white space in JSON) is read first, so that
a seal holds on whatever database the rows lie.

Sources: RFC 2104 (HMAC), FIPS 180-4 (SHA-256); NIST SP 800-107 section 5.3.3 (an HMAC cut to 128
bits).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

__all__ = ["COLUMNS", "FIRST", "Leaf", "Link", "drop_mac", "leaf", "pack", "unpack"]

COLUMNS = (
    "seq",
    "id",
    "at",
    "actor_kind",
    "actor_id",
    "action",
    "target_kind",
    "target_id",
    "request_id",
    "address",
    "details",
)
"""What a leaf covers, in its order; ``details`` as JSON text."""

FIRST = "0" * 64
"""What stands before the first seal."""

_ENTRY = struct.Struct(">q16s")
_MAC_BYTES = 16
_DETAILS = COLUMNS.index("details")


class Leaf(NamedTuple):
    """One event in a seal."""

    seq: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """What a seal's digest covers."""

    batch: int
    first_seq: int
    last_seq: int
    count: int
    newest_at: int
    sealed_at: int
    previous: str
    root: str

    def digest(self, key: bytes) -> str:
        """The seal's digest, in hex; ``""`` when a column holds what no seal has."""
        return _mac(key, b"seal", list(asdict(self).values())).hex()


def leaf(key: bytes, event: Sequence[Any]) -> bytes:
    """The MAC of one event, or nothing when it holds what no event has.

    Args:
        key: The audit's key.
        event: Its columns in the order of ``COLUMNS``; ``details`` may be read already.
    """
    values = list(event)
    if not isinstance(values[_DETAILS], dict):
        try:
            values[_DETAILS] = orjson.loads(values[_DETAILS])
        except (orjson.JSONDecodeError, TypeError):
            return b""
    return _mac(key, b"event", values)[:_MAC_BYTES]


def drop_mac(key: bytes, batch: int, digest: str, dropped_at: int) -> str:
    """What proves that the service itself dropped a batch, in hex."""
    return _mac(key, b"drop", [batch, digest, dropped_at]).hex()


def pack(leaves: Sequence[Leaf]) -> tuple[bytes, str]:
    """A seal's leaves as its row keeps them, and their root."""
    packed = b"".join([_ENTRY.pack(*each) for each in leaves])
    return packed, hashlib.sha256(packed).hexdigest()


def unpack(packed: Any, root: str) -> Iterator[Leaf] | None:
    """The leaves of a seal; None when they are not those of the root."""
    if not isinstance(packed, bytes) or hashlib.sha256(packed).hexdigest() != root:
        return None
    if len(packed) % _ENTRY.size:
        return None
    return (Leaf(*entry) for entry in _ENTRY.iter_unpack(packed))


def _mac(key: bytes, purpose: bytes, values: list[Any]) -> bytes:
    try:
        text = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a column of another type than its own, such as SQLite lets in
        return b""
    mac = _begun(key, purpose).copy()
    mac.update(text)
    return mac.digest()


@lru_cache(maxsize=16)
def _begun(key: bytes, purpose: bytes) -> hmac.HMAC:
    # The key is read once, and not for each of a thousand events.
    return hmac.new(key, purpose + b"\0", "sha256")
