"""What a decoder is to those who attack it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from authsvc.errors import AuthsvcError

__all__ = ["Decoder", "as_text"]


@dataclass(frozen=True, slots=True)
class Decoder:
    """Something that reads bytes which others wrote.

    Args:
        read: Takes any bytes; returns or raises one of ``errors``.
        good: What it reads without an error, to be changed.
        errors: What it may raise.
    """

    read: Callable[[bytes], object]
    good: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = (AuthsvcError,)


def as_text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """A reader of texts as a reader of bytes; what is not UTF-8 becomes lone surrogates."""
    return lambda data: read(data.decode("utf-8", "surrogateescape"))
