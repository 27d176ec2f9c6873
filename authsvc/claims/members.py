"""Members of a JSON object, each read as the type it must have and written as Go writes it.

Go's ``encoding/json`` leaves out empty members (``omitempty``), takes null for absent, ignores
unknown members, and matches names without regard to case. The last is refused here: a member
that only Go would understand must not slip by.

Source: https://pkg.go.dev/encoding/json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import orjson

from authsvc.errors import InvalidClaims

__all__ = [
    "Json",
    "child",
    "children",
    "compact",
    "dumps",
    "flag",
    "integer",
    "known",
    "mapping",
    "text",
    "texts",
    "times_by_key",
]

Json = Mapping[str, Any]
T = TypeVar("T")

INT64_MIN = -(1 << 63)
INT64_MAX = (1 << 63) - 1


def dumps(value: Any) -> bytes:
    """The bytes that Go's ``json.Marshal`` writes for the same value.

    Raises:
        InvalidClaims: A text holds a lone surrogate, or a number does not fit 64 bits.
    """
    try:
        data = orjson.dumps(value)
    except TypeError as error:
        raise InvalidClaims(f"the claims can't be written as JSON: {error}") from None
    # None of these three stands anywhere in JSON but in texts.
    data = data.replace(b">", b"\\u003e").replace(b"<", b"\\u003c").replace(b"&", b"\\u0026")
    if not data.isascii():
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return data


def compact(members: dict[str, Any]) -> dict[str, Any]:
    """The members that are not empty: Go's ``omitempty``."""
    return {name: value for name, value in members.items() if value}


def known(members: Json, names: frozenset[str]) -> None:
    """Check that no unknown member differs from a known one only by case.

    Raises:
        InvalidClaims: One does: Go would read it, and this reader would not.
    """
    if members.keys() <= names:
        return
    for name in members.keys() - names:
        if name.casefold() in names:
            raise InvalidClaims(f"the member {name.casefold()!r} is spelt in another case")


def _typed(members: Json, name: str, kind: type[T], what: str, empty: T) -> T:
    value = members.get(name)
    if value is None:
        return empty
    if type(value) is not kind:
        raise InvalidClaims(f"the member {name!r} is not {what}")
    return value


def text(members: Json, name: str) -> str:
    """A text; empty if absent."""
    return _typed(members, name, str, "a text", "")


def flag(members: Json, name: str) -> bool:
    """A truth value; False if absent."""
    return _typed(members, name, bool, "true or false", False)  # noqa: FBT003 - what absent means


def integer(
    members: Json, name: str, absent: int = 0, low: int = INT64_MIN, high: int = INT64_MAX
) -> int:
    """A whole number; ``absent`` if it is absent.

    Raises:
        InvalidClaims: Something else, or outside ``low`` to ``high``.
    """
    value = _typed(members, name, int, "a whole number", absent)
    if not low <= value <= high:
        raise InvalidClaims(f"the member {name!r} is out of range")
    return value


def texts(members: Json, name: str) -> list[str]:
    """A list of texts; empty if absent."""
    values: list[Any] = _typed(members, name, list, "a list", [])
    for value in values:
        if type(value) is not str:
            raise InvalidClaims(f"the member {name!r} holds something that is not a text")
    return values


def child(members: Json, name: str) -> dict[str, Any]:
    """An object; empty if absent."""
    empty: dict[str, Any] = {}
    return _typed(members, name, dict, "an object", empty)


def children(members: Json, name: str, read: Callable[[Json], T]) -> list[T]:
    """A list of objects, each read by ``read``; empty if absent."""
    values: list[Any] = _typed(members, name, list, "a list", [])
    for value in values:
        if type(value) is not dict:
            raise InvalidClaims(f"the member {name!r} holds something that is not an object")
    return [read(value) for value in values]


def mapping(members: Json, name: str, read: Callable[[Json], T]) -> dict[str, T]:
    """An object of objects, each read by ``read``; empty if absent."""
    values = child(members, name)
    return {key: read(child(values, key)) for key in values}


def times_by_key(members: Json, name: str) -> dict[str, int]:
    """An object of whole numbers, such as revocations; empty if absent."""
    values = child(members, name)
    return {key: integer(values, key) for key in values}


def by_key(values: Mapping[str, T], write: Callable[[T], Any]) -> dict[str, Any]:
    """An object in the order that Go writes maps in: by the bytes of the names."""
    # Code points and UTF-8 bytes sort alike.
    return {key: write(values[key]) for key in sorted(values)}


def many(values: Iterable[T], write: Callable[[T], Any]) -> list[Any]:
    """A list, each item written by ``write``."""
    return [write(value) for value in values]
