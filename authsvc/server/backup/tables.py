"""Which tables a backup holds, and how their values are spelt in it.

Each table of the schema is named here, by a test: in ``EXPORTED``, or in ``LEFT_OUT`` with the
reason. What is read is the database itself and not the models, so an older schema can be backed up
before it is upgraded.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Float,
    LargeBinary,
    MetaData,
    String,
    Table,
    column,
    inspect,
    table,
    types,
)
from sqlalchemy.sql.expression import TableClause

from authsvc.errors import InvalidBackup
from authsvc.server.models import Row
from authsvc.server.models.base import Document

__all__ = ["EXPORTED", "LEFT_OUT", "Codec", "Kind", "Shape", "clause", "find_shapes"]

Kind = Literal["text", "integer", "boolean", "bytes", "json", "float"]

EXPORTED = frozenset(
    {
        "accounts",
        "api_keys",
        "apps",
        "audit_events",
        "audit_seals",
        "credentials",
        "dead_keys",
        "dead_letters",
        "enrolment_keys",
        "enrolments",
        "grants",
        "idempotency_keys",
        "keystore_checks",
        "mailboxes",
        "operators",
        "proof_uses",  # until revision 0003
        "revocations",
        "roles",
        "secrets",
        "signing_keys",
        "used_proofs",
        "users",
    }
)
LEFT_OUT: Mapping[str, str] = {
    "attempt_counts": "counts for minutes",
    "console_links": "a link that was used since would sign in again",
    "console_sessions": "a session that was ended since would go on",
    "device_requests": "lives for minutes; one that was denied since could be approved again",
    "server_states": "what nats-servers hold is asked anew",
}

_TYPES: dict[Kind, Any] = {
    "text": String(),
    "integer": BigInteger(),
    "boolean": Boolean(),
    "bytes": LargeBinary(),
    "json": Document,
    "float": Float(),
}
# The first that fits: LargeBinary is also what a BLOB is, and JSON what a JSONB is.
_KINDS: tuple[tuple[type[types.TypeEngine[Any]], Kind], ...] = (
    (types.JSON, "json"),
    (types.LargeBinary, "bytes"),
    (types.Boolean, "boolean"),
    (types.Integer, "integer"),
    (types.Float, "float"),
    (types.String, "text"),
)


def _find_tables(connection: Connection) -> list[Table]:
    known = EXPORTED | (set(Row.metadata.tables) - LEFT_OUT.keys())
    names = sorted(known & set(inspect(connection).get_table_names()))
    found = MetaData()
    found.reflect(connection, only=names, resolve_fks=False)
    return list(found.sorted_tables)


def _kinds_of(found: Table) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for it in found.columns:
        kind = next((kind for base, kind in _KINDS if isinstance(it.type, base)), None)
        if kind is None:
            raise InvalidBackup(f"{found.name}.{it.name} is of a type that no backup can hold")
        kinds[it.name] = kind
    return kinds


class Shape(NamedTuple):
    """A table as it is in the database."""

    kinds: dict[str, Kind]
    """What each column holds, in the columns' order."""
    key: tuple[str, ...]
    """The columns of the primary key."""


def find_shapes(connection: Connection) -> dict[str, Shape]:
    """The tables of the database that a backup holds, parents before children.

    Those of other programs, which may share a PostgreSQL database, are not among them. Reading
    them takes some statements for each.
    """
    return {
        found.name: Shape(_kinds_of(found), tuple(it.name for it in found.primary_key.columns))
        for found in _find_tables(connection)
    }


def clause(name: str, kinds: Mapping[str, Kind]) -> TableClause:
    """A table to read from or write to, with types that are spelt alike for every database."""
    return table(name, *[column(it, _TYPES[kind]) for it, kind in kinds.items()])


class Codec:
    """Turns rows into what JSON can say, and back.

    Args:
        kinds: What each column holds.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._names = list(kinds)
        self._bytes = [place for place, kind in enumerate(kinds.values()) if kind == "bytes"]
        self._checks = [_CHECKS[kind] for kind in kinds.values()]

    def encode(self, row: Sequence[Any]) -> list[Any]:
        """A row as a list for JSON."""
        values = list(row)
        for place in self._bytes:
            if values[place] is not None:
                values[place] = base64.b64encode(values[place]).decode()
        return values

    def decode(self, values: Any) -> dict[str, Any]:
        """The row that the list spells.

        Raises:
            InvalidBackup: It has other columns, or a value is not what its column holds.
        """
        if not isinstance(values, list) or len(values) != len(self._names):
            raise InvalidBackup("a row has other columns than its table")
        for check, value in zip(self._checks, values, strict=True):
            if value is not None and not check(value):
                raise InvalidBackup("a row has a value of another kind than its column")
        for place in self._bytes:
            if values[place] is not None:
                values[place] = _bytes(values[place])
        return dict(zip(self._names, values, strict=True))


def _is(*kinds: type) -> Callable[[Any], bool]:
    # bool is an int to isinstance.
    return lambda value: type(value) in kinds


_CHECKS: dict[Kind, Callable[[Any], bool]] = {
    "text": _is(str),
    "integer": _is(int),
    "boolean": _is(bool),
    "bytes": _is(str),
    "json": lambda _value: True,
    "float": _is(float, int),
}


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidBackup("a row has a value that is not in base64") from None
