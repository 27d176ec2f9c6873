"""What all rows share: their MetaData, their column types, and how ids are made."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Integer, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import SQLModel

__all__ = ["ByteOrder", "Document", "Row", "Seconds", "Sequence", "new_id"]

# Sorts like the number it spells, unlike RFC 4648's first alphabet (its section 7).
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_PLACES = tuple(range(120, -1, -10))

Seconds: Any = BigInteger
Document: Any = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite compares text by its bytes; PostgreSQL by the rules of a language unless told, and then
# its index serves no search for a beginning.
ByteOrder: Any = String().with_variant(String(collation="C"), "postgresql")
# SQLite numbers rows by itself only where the type is spelt INTEGER.
Sequence: Any = BigInteger().with_variant(Integer, "sqlite")


def new_id(prefix: str) -> str:
    """A new id: the prefix, ``_``, and 130 bits in 26 characters, the first 48 the time in ms."""
    number = (time.time_ns() // 1_000_000 << 82) | int.from_bytes(os.urandom(11)) >> 6
    return f"{prefix}_" + "".join([_PAIRS[number >> place & 1023] for place in _PLACES])


class Row(SQLModel):
    """What all rows share: one MetaData, whose constraints have names that migrations can use."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
