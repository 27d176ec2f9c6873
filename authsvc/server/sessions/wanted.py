"""What orders need of the database, and the parts of queries that find it.

Both ways to read it are made of them: the transaction that locks (``reads``), and the statement
that only looks (``optimistic``). On PostgreSQL lists are one parameter, named as in ``Wanted``, and
rows of several tables come by one statement, each behind a number that says what it is.

Source: https://www.postgresql.org/docs/current/functions-comparisons.html (ANY).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from authsvc.server.models import AttemptCount, Credential, DeadKey, Grant, User
from authsvc.server.sessions.states import CREDENTIAL_COLUMNS, USER_COLUMNS

__all__ = [
    "Wanted",
    "array",
    "count_failed",
    "in_array",
    "numbered",
    "renewing_users",
    "select_credentials",
    "select_dead",
    "select_grants",
    "select_users",
]

_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]
_grants = Grant.__table__  # type: ignore[attr-defined]
_dead_keys = DeadKey.__table__  # type: ignore[attr-defined]
_counts = AttemptCount.__table__  # type: ignore[attr-defined]

select_credentials = select(*(_credentials.c[name] for name in CREDENTIAL_COLUMNS))
select_users = select(*(_users.c[name] for name in USER_COLUMNS))
select_grants = select(_grants.c.user_id, _grants.c.role, _grants.c.publish, _grants.c.subscribe)
select_dead = select(_dead_keys.c.public_key)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What orders need.

    Args:
        marks: Of the proofs that they use up, in order.
        doubtful: Of these, what this process has met before.
        attempts: Under what failures before them were counted.
        now: Seconds since the epoch.
        public_keys: Their nkeys.
        names: Users by name.
        user_ids: Users by id.
        renewed: Of the ``public_keys``, those whose user is wanted too.
    """

    marks: Sequence[bytes]
    doubtful: Sequence[bytes]
    attempts: Sequence[bytes]
    now: int
    public_keys: Sequence[str]
    names: Sequence[str]
    user_ids: Sequence[str]
    renewed: Sequence[str]

    def values(self) -> dict[str, Any]:
        """The same by the names that PostgreSQL's parameters have."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def array(name: str, kind: Any = Text) -> Any:
    """A list that is one parameter."""
    return bindparam(name, type_=ARRAY(kind))


def in_array(column: Any, name: str, kind: Any = Text) -> ColumnElement[bool]:
    """Whether a column is one of a list, which is one parameter (PostgreSQL)."""
    found: ColumnElement[bool] = column == any_(array(name, kind))
    return found


def numbered(kind: int, columns: Any) -> Select[Any]:
    """Rows of columns, each behind the number that says what it is."""
    return select(literal_column(str(kind), Integer), func.row(*columns))


def count_failed(kind: int) -> Select[Any]:
    """Failures before that count."""
    return numbered(kind, (_counts.c.mark, _counts.c.number, _counts.c.ends_at)).where(
        in_array(_counts.c.mark, "attempts", LargeBinary),
        _counts.c.ends_at > bindparam("now", type_=BigInteger),
    )


def renewing_users() -> Any:
    """The ids of those whose nkeys are ``renewed``, as an array.

    With a subquery among the conditions all users were looked at.
    """
    owners = select(cast(_credentials.c.user_id, Text)).where(
        in_array(_credentials.c.public_key, "renewed")
    )
    return func.array(owners.scalar_subquery())
