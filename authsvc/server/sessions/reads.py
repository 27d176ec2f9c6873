"""What the desk's transaction reads and locks: the rows of many orders at once.

    taken = take(connection, wanted)              # and the proofs are used up by it
    ...
    rules = read_rules(connection, account_id, user_ids, unknown_keys)

On PostgreSQL, where each statement is a round trip, either is one statement; its rows are a number
that says what the row is, and the row. Lists are one parameter of one statement, not a parameter
for each entry. Else every size of a batch would be a statement of its own: made anew, and on
PostgreSQL prepared anew by a round trip.

Sources: https://www.sqlite.org/json1.html (json_each);
https://www.postgresql.org/docs/current/functions-comparisons.html (ANY);
https://www.postgresql.org/docs/current/transaction-iso.html (READ COMMITTED).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    any_,
    bindparam,
    func,
    or_,
    select,
    union_all,
)

from authsvc import jose
from authsvc.server import attempts
from authsvc.server.models import Credential, DeadKey, Grant, User
from authsvc.server.sessions.proofs import SPEND, write_marks
from authsvc.server.sessions.signing import KeyRow, read_keys, select_keys
from authsvc.server.sessions.states import CredentialState, UserState
from authsvc.server.sessions.wanted import (
    Wanted,
    array,
    count_failed,
    in_array,
    numbered,
    renewing_users,
    select_credentials,
    select_dead,
    select_grants,
    select_users,
)

__all__ = [
    "GrantRow",
    "Rules",
    "Taken",
    "credentials_sqlite",
    "dead_sqlite",
    "grants_sqlite",
    "listed",
    "read_rules",
    "take",
    "users_sqlite",
]

_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]
_grants = Grant.__table__  # type: ignore[attr-defined]
_dead_keys = DeadKey.__table__  # type: ignore[attr-defined]


class Taken(NamedTuple):
    """What was there of it.

    Args:
        new: The marks that were not used before.
        failed: Failures before, by what they were counted under.
        credentials: By nkey; locked.
        users: Locked.
    """

    new: set[bytes]
    failed: dict[bytes, attempts.Count]
    credentials: dict[str, CredentialState]
    users: list[UserState]


class GrantRow(NamedTuple):
    """A grant to a user or to a role."""

    user_id: str | None
    role: str | None
    publish: list[str]
    subscribe: list[str]


class Rules(NamedTuple):
    """By what is decided.

    Args:
        keys: The account's signing keys, the newest first.
        grants: Of the users, and all grants of roles.
        dead: Of the unknown nkeys, those whose user was deleted.
    """

    keys: Sequence[KeyRow]
    grants: Sequence[GrantRow]
    dead: frozenset[str]


def _in_json(column: Any, name: str) -> ColumnElement[bool]:
    values = func.json_each(bindparam(name, type_=Text)).table_valued("value", name=f"of_{name}")
    found: ColumnElement[bool] = column.in_(select(values.c.value))
    return found


# SQLite: nothing waits there, neither for a lock nor for an answer, so each is a statement.
credentials_sqlite = select_credentials.where(_in_json(_credentials.c.public_key, "public_keys"))
users_sqlite = select_users.where(
    or_(_in_json(_users.c.username, "names"), _in_json(_users.c.id, "user_ids"))
)
grants_sqlite = select_grants.where(
    or_(_in_json(_grants.c.user_id, "user_ids"), _grants.c.role.is_not(None))
)
dead_sqlite = select_dead.where(_in_json(_dead_keys.c.public_key, "unknown"))


_MARK, _CREDENTIAL, _USER, _FAILED = range(4)
_KEY, _GRANT, _DEAD = range(3)


def _take() -> Any:
    """The statement that takes.

    Its parts are run one after the other: proofs are waited for first, then credentials are locked
    in the order of their keys, then users in the order of theirs, as everywhere.

    All see the database as it was when the statement began, but a row that is locked is the
    newest: whoever waited for a revocation sees it. A row that another transaction added meanwhile
    is not seen; this one then fails when it adds the same, and is done again.
    """
    spent = SPEND.cte("spent")
    held = (
        select_credentials.where(in_array(_credentials.c.public_key, "public_keys"))
        .order_by(_credentials.c.public_key)
        .with_for_update()
        .cte("held")
    )
    owners = func.array_cat(array("user_ids"), renewing_users())
    people = (
        select_users.where(or_(in_array(_users.c.username, "names"), _users.c.id == any_(owners)))
        .order_by(_users.c.id)
        .with_for_update()
        .cte("people")
    )
    return union_all(
        numbered(_MARK, spent.c),
        numbered(_CREDENTIAL, held.c),
        numbered(_USER, people.c),
        count_failed(_FAILED),
    )


_TAKE = _take()


@cache
def _rules(account_id: str) -> Any:
    keys = select_keys(account_id).subquery("keys")
    grants = numbered(_GRANT, select_grants.selected_columns).where(
        or_(in_array(_grants.c.user_id, "user_ids"), _grants.c.role.is_not(None))
    )
    dead = numbered(_DEAD, select_dead.selected_columns).where(
        in_array(_dead_keys.c.public_key, "unknown")
    )
    return union_all(numbered(_KEY, keys.c), grants, dead)


def listed(values: Sequence[str]) -> str:
    """A list as one parameter of SQLite's, for ``json_each``."""
    return jose.dumps(values).decode()


def take(connection: Connection, wanted: Wanted) -> Taken:
    """Use the proofs up, and lock the rows that there are.

    Args:
        connection: In a transaction.
        wanted: Which.
    """
    if connection.dialect.name == "sqlite":
        return _take_from_sqlite(connection, wanted)
    taken = Taken(set(), {}, {}, [])
    for kind, row in connection.execute(_TAKE, wanted.values()):
        if kind == _MARK:
            taken.new.add(row[0])
        elif kind == _CREDENTIAL:
            held = CredentialState(*row)
            taken.credentials[held.public_key] = held
        elif kind == _USER:
            taken.users.append(UserState(*row))
        else:
            taken.failed[row[0]] = attempts.Count(*row[1:])
    return taken


def _take_from_sqlite(connection: Connection, wanted: Wanted) -> Taken:
    new = write_marks(connection, wanted.marks)
    failed = attempts.read_failed(connection, wanted.attempts, wanted.now)
    keys = {"public_keys": listed(wanted.public_keys)}
    held = [CredentialState(*row) for row in connection.execute(credentials_sqlite, keys)]
    owners = {it.public_key: it.user_id for it in held}
    ids = {*wanted.user_ids, *(owners[key] for key in wanted.renewed if key in owners)}
    people = {"names": listed(wanted.names), "user_ids": listed([*ids])}
    users = [UserState(*row) for row in connection.execute(users_sqlite, people)]
    return Taken(new, failed, {it.public_key: it for it in held}, users)


def read_rules(
    connection: Connection, account_id: str, user_ids: Sequence[str], unknown: Sequence[str]
) -> Rules:
    """Read by what is decided, after the users were locked.

    A statement of its own: whoever waited for a lock reads what the other transaction committed. A
    role that becomes scoped supersedes what its members have, and who waited for that signs by its
    key; an nkey whose user is deleted meanwhile is seen in one of the two.

    Args:
        connection: In a transaction.
        account_id: Whose keys sign.
        user_ids: All users who were locked.
        unknown: Nkeys without a credential.
    """
    if connection.dialect.name == "sqlite":
        return _rules_from_sqlite(connection, account_id, user_ids, unknown)
    keys, grants, dead = [], [], set()
    values = {"user_ids": user_ids, "unknown": unknown}
    for kind, row in connection.execute(_rules(account_id), values):
        if kind == _KEY:
            keys.append(KeyRow(*row))
        elif kind == _GRANT:
            grants.append(GrantRow(*row))
        else:
            dead.add(row[0])
    return Rules(keys, grants, frozenset(dead))


def _rules_from_sqlite(
    connection: Connection, account_id: str, user_ids: Sequence[str], unknown: Sequence[str]
) -> Rules:
    dead: frozenset[str] = frozenset()
    if unknown:
        dead = frozenset(connection.scalars(dead_sqlite, {"unknown": listed(unknown)}))
    # Most services have few grants or none: one query brings all that could matter.
    found = connection.execute(grants_sqlite, {"user_ids": listed(user_ids)})
    grants = [GrantRow(*row) for row in found]
    return Rules(read_keys(connection, account_id), grants, dead)
