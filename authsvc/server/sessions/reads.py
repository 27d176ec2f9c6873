"""What the desk's transaction reads: the rows of many orders, in one query each.

    found = READS[connection.dialect.name]
    rows = connection.execute(found.credentials, {"public_keys": listed(connection, keys)})

Lists are one parameter of one statement, not a parameter for each entry. Else every size of a batch
would be a statement of its own: made anew, and on PostgreSQL prepared anew by a round trip.

Sources: https://www.sqlite.org/json1.html (json_each);
https://www.postgresql.org/docs/current/functions-comparisons.html (ANY).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from authsvc import jose
from authsvc.server.models import Credential, DeadKey, Grant, User
from authsvc.server.sessions.states import CREDENTIAL_COLUMNS, USER_COLUMNS

__all__ = ["READS", "Reads", "listed"]

_Among = Callable[[Any, str], ColumnElement[bool]]
_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]
_grants = Grant.__table__  # type: ignore[attr-defined]
_dead_keys = DeadKey.__table__  # type: ignore[attr-defined]


class Reads(NamedTuple):
    """The statements for one kind of database; rows are locked in the order of their keys.

    Args:
        credentials: By ``public_keys``.
        dead: Of the ``public_keys``, those whose user was deleted.
        users: By ``names`` or ``ids``.
        grants: Of the users of the ``ids``, and all grants of roles.
    """

    credentials: Select[Any]
    dead: Select[Any]
    users: Select[Any]
    grants: Select[Any]


def listed(connection: Connection, values: Sequence[str]) -> Any:
    """A list as the one parameter that these statements take."""
    return jose.dumps(values).decode() if connection.dialect.name == "sqlite" else list(values)


def _in_json(column: Any, name: str) -> ColumnElement[bool]:
    values = func.json_each(bindparam(name, type_=Text)).table_valued("value", name=f"of_{name}")
    found: ColumnElement[bool] = column.in_(select(values.c.value))
    return found


def _in_array(column: Any, name: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = column == any_(bindparam(name, type_=ARRAY(Text)))
    return found


def _reads(among: _Among) -> Reads:
    return Reads(
        credentials=select(*(_credentials.c[name] for name in CREDENTIAL_COLUMNS))
        .where(among(_credentials.c.public_key, "public_keys"))
        .order_by(_credentials.c.public_key)
        .with_for_update(),
        dead=select(_dead_keys.c.public_key).where(among(_dead_keys.c.public_key, "public_keys")),
        users=select(*(_users.c[name] for name in USER_COLUMNS))
        .where(or_(among(_users.c.username, "names"), among(_users.c.id, "ids")))
        .order_by(_users.c.id)
        .with_for_update(),
        grants=select(
            _grants.c.user_id, _grants.c.role, _grants.c.publish, _grants.c.subscribe
        ).where(or_(among(_grants.c.user_id, "ids"), _grants.c.role.is_not(None))),
    )


READS = {"sqlite": _reads(_in_json), "postgresql": _reads(_in_array)}
