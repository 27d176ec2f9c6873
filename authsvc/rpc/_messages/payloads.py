"""Bodies that pydantic models describe, where pydantic is installed; and what JSON can hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

__all__ = ["adapter", "json_bytes", "read_as"]


def json_bytes(value: Any) -> bytes:
    """A value as JSON; pydantic models at any depth are written as pydantic does.

    Raises:
        TypeError: JSON can't hold it.
    """
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(value, default=_plain)


def adapter(kind: Any) -> Callable[[bytes], Any]:
    """What reads JSON as ``kind``: a pydantic model, ``list[Model]``, a dataclass and the like.

    Raises:
        TypeError: pydantic is needed for it and is not installed.
    """
    # A class is its own validator; list[Model] and Annotated[Model, ...] are no classes.
    if isinstance(kind, type) and hasattr(kind, "model_validate_json"):
        found: Callable[[bytes], Any] = kind.model_validate_json
        return found
    try:
        from pydantic import TypeAdapter  # noqa: PLC0415  optional
    except ImportError as error:
        raise TypeError(f"{kind!r} needs pydantic to be validated: pip install pydantic") from error
    return TypeAdapter(kind).validate_json


def read_as(kind: Any, content: bytes) -> Any:
    """JSON as ``kind``; see ``adapter``.

    Raises:
        ValueError: It is not JSON, or not of this kind: pydantic's ValidationError.
        TypeError: pydantic is needed for it and is not installed.
    """
    try:
        validate = _cached(kind)
    except TypeError:
        validate = adapter(kind)  # a kind that can't be hashed
    return validate(content)


_cached = lru_cache(256)(adapter)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"JSON can't hold {type(value).__name__}")
    return dump(mode="json")
