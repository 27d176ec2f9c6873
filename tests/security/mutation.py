"""Changes of good input: of its bytes, and where it is JSON, of what it says."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

__all__ = ["changed", "spoilt"]

PIECES = (
    b"\0", b"\xff" * 4, b"\r\n", b"\r\n\r\n", b".", b"%", b"%00", b'"', b"'", b"{", b"}", b"[" * 50,
    b"9" * 30, b"9" * 5000, b"-1", b"1e999", b"NaN", b"\xed\xa0\x80", b"\\ud800", b"\xef\xbb\xbf",
    b"\xe2\x80\xae", b"\xc2\xa0", b" ", b"\t", b"*", b">", b"$", b"../", b"=", b"-", b"+", b":",
    b",", b"null", b"A" * 300, b"\x80", b"\x7f", b"://", b"@", b"[::1", b"#",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5,
    -0.0, 1e308, "", " ", "a", "*", ">", "a.>", "\0", "\r\n", "\u202e", "é", "e\u0301", "\ud800",
    "A" * 5000, "9" * 20, "-1", "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59", [], {}, [[]], [None], [{}], {"": None}, {"a": {"a": {"a": []}}},
    ["a"] * 500, [[[[[[[[[[[[]]]]]]]]]]]],
)  # fmt: skip
_SHORT = 500


def changed(good: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Good input with some changes; now and then of what it says, where it is JSON.

    Args:
        good: To begin from.
        others: Whose parts may be put in.
        chance: Decides everything.
    """
    if chance.random() < 0.5 and (value := _read(good)) is not None:
        for _ in range(chance.choice((1, 1, 2, 3))):
            value = spoilt(value, chance)
        text = json.dumps(value, ensure_ascii=chance.random() < 0.5, separators=(",", ":"))
        data = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.8:
            return data
        good = data
    return _bytes(good, others, chance)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _bytes(good: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    data = bytearray(good)
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        start = chance.randint(0, len(data))
        end = min(len(data), start + chance.choice((1, 2, 8, 64)))
        match chance.randrange(7):
            case 0:
                data[start:start] = chance.choice(PIECES)
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = data[start:end] * chance.choice((1, 2, 40))
            case 3:
                data[start:end] = chance.randbytes(end - start)
            case 4:
                other = chance.choice(others)
                place = chance.randint(0, len(other))
                data[start:end] = other[place : place + chance.choice((1, 8, 64))]
            case 5:
                data[start:end] = chance.choice(PIECES)
            case _:
                if start < len(data):
                    data[start] ^= 1 << chance.randrange(8)
    return bytes(data)


def spoilt(value: Any, chance: random.Random) -> Any:  # noqa: PLR0911  one for each change
    """The value with one change somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {key: item for key, item in value.items() if key != name}
            case 1:
                return value | {chance.choice(("", "a", "crit", "jku", name.upper(), "A" * 300)): 1}
            case 2:
                return value | {name: value[chance.choice(list(value))]}
            case _:
                return value | {name: spoilt(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        place = chance.randrange(len(value))
        match chance.randrange(4):
            case 0:
                return value[:place] + value[place + 1 :]
            case 1:
                again = chance.choice((1, 2000)) if len(str(value)) < _SHORT else 1
                return value + [value[place]] * again
            case _:
                return [*value[:place], spoilt(value[place], chance), *value[place + 1 :]]
    if isinstance(value, str) and chance.random() < 0.4:
        made = _bytes(value.encode("utf-8", "surrogatepass"), (b"a",), chance)
        return made.decode("utf-8", "replace")
    if isinstance(value, int) and not isinstance(value, bool) and chance.random() < 0.4:
        return value + chance.choice((-1, 1, 59, 61, -(2**32), 2**32))
    return chance.choice(VALUES)
