"""Logins and renewals on PostgreSQL by two statements: optimistic concurrency control.

    seen = await look(driver, wanted, account_id)
    ... decide, sign ...
    await write(driver, seen, marks, book.parts())         # all of it, or Outrun

A transaction that locks rows, decides and writes takes five round trips, and holds its locks while
JWTs are signed. Here one statement looks and another writes, each a transaction of its own. The
one that writes locks what was looked at, and sees whether anybody wrote or locked a row since, or
holds one now. If so nothing is written, and the desk's transaction does it all again, waiting for
whoever was quicker.

What decides without being locked itself (grants, signing keys) is changed together with a row of
each user whom it takes something from: ``supersede`` and ``with_other_jwts`` write them.

See docs/decisions/0016-logins-without-locks.md. Sources:
https://www.postgresql.org/docs/current/ddl-system-columns.html (xmin and xmax, which locks set);
https://www.postgresql.org/docs/current/transaction-iso.html (READ COMMITTED: a row that changed is
looked at again); https://www.postgresql.org/docs/current/queries-with.html (parts that write are
run to their end, after what the statement itself reads).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Text, any_, cast, func, literal_column, or_, select, union_all
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from authsvc.server.driver import Driver, Outrun
from authsvc.server.models import Credential, Grant, User
from authsvc.server.sessions.proofs import select_marks
from authsvc.server.sessions.reads import GrantRow
from authsvc.server.sessions.signing import KeyRow, select_keys
from authsvc.server.sessions.states import CredentialState, UserState
from authsvc.server.sessions.wanted import (
    Wanted,
    count_failed,
    in_array,
    numbered,
    renewing_users,
    select_credentials,
    select_dead,
    select_grants,
    select_users,
)
from authsvc.server.statements import (
    Part,
    Prepared,
    columns_for_postgresql,
    texts_for_postgresql,
)

__all__ = ["Seen", "look", "write"]

_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]
_grants = Grant.__table__  # type: ignore[attr-defined]
_MARK, _CREDENTIAL, _USER, _FAILED, _KEY, _GRANT, _DEAD = range(7)


@dataclass(slots=True)
class Seen:
    """What was there when it was looked at.

    Args:
        used: The proofs' marks that were used before.
        failed: Whether logins failed before that count now.
        credentials: By nkey.
        users: Whom they belong to, and who was named.
        keys: The account's signing keys.
        grants: Of the users, and all grants of roles.
        dead: Of the nkeys, those whose user was deleted.
        credential_versions: By id.
        user_versions: By id.
    """

    used: set[bytes] = field(default_factory=set)
    failed: bool = False
    credentials: dict[str, CredentialState] = field(default_factory=dict)
    users: list[UserState] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)
    grants: list[GrantRow] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    credential_versions: dict[str, str] = field(default_factory=dict)
    user_versions: dict[str, str] = field(default_factory=dict)


class _Looking(NamedTuple):
    text: str
    names: Sequence[str]
    fixed: Mapping[str, Any]


def _version(table: str) -> Any:
    """Another one whenever the row was written, or locked, by a transaction."""
    return literal_column(f"{table}.xmin::text || '/' || {table}.xmax::text", Text)


@cache
def _looking(account_id: str) -> _Looking:
    named = or_(in_array(_users.c.username, "names"), _users.c.id == any_(renewing_users()))
    ids = func.array(select(cast(_users.c.id, Text)).where(named).scalar_subquery())
    credentials = [*select_credentials.selected_columns, _version("credentials")]
    users = [*select_users.selected_columns, _version("users")]
    statement = union_all(
        numbered(_MARK, select_marks.subquery("used").c),
        numbered(_CREDENTIAL, credentials).where(
            in_array(_credentials.c.public_key, "public_keys")
        ),
        numbered(_USER, users).where(named),
        count_failed(_FAILED),
        numbered(_KEY, select_keys(account_id).subquery("keys").c),
        numbered(_GRANT, select_grants.selected_columns).where(
            or_(_grants.c.user_id == any_(ids), _grants.c.role.is_not(None))
        ),
        numbered(_DEAD, select_dead.selected_columns).where(
            in_array(select_dead.selected_columns[0], "public_keys")
        ),
    )
    compiled = statement.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call]
    return _Looking(str(compiled), tuple(compiled.positiontup or ()), compiled.params)


async def look(driver: Driver, wanted: Wanted, account_id: str) -> Seen:
    """Read what orders need, as of one moment.

    Args:
        driver: PostgreSQL's.
        wanted: By the orders; users by their ids are none of it.
        account_id: Whose keys sign.

    Raises:
        Outrun: Nothing could be read.
    """
    text, names, fixed = _looking(account_id)
    values = {**fixed, **wanted.values()}
    try:
        rows = await driver.fetch(text, *[values[name] for name in names])
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        # The transaction sees the same and knows what to do: all its connections may be stale.
        raise Outrun("nothing could be read") from error
    return _seen(rows)


def _seen(rows: Sequence[Any]) -> Seen:
    seen = Seen()
    for kind, row in rows:
        if kind == _CREDENTIAL:
            *values, version = row
            credential = CredentialState(*values)
            seen.credentials[credential.public_key] = credential
            seen.credential_versions[credential.id] = version
        elif kind == _USER:
            *values, version = row
            user = UserState(*values)
            seen.users.append(user)
            seen.user_versions[user.id] = version
        elif kind == _KEY:
            seen.keys.append(KeyRow(*row))
        elif kind == _GRANT:
            seen.grants.append(GrantRow(*row))
        elif kind == _DEAD:
            seen.dead.add(row[0])
        elif kind == _MARK:
            seen.used.add(row[0])
        else:
            seen.failed = True
    return seen


# Proofs are waited for first, then credentials are locked in the order of their keys, then users in
# the order of theirs, as everywhere: CASE looks at one after the other. A row that somebody holds
# is skipped, and so is missing. The cast of a text that is no number ends the statement, and
# PostgreSQL's log says why; a constant text would be cast when the statement is planned.
_HELD = """SELECT 1 FROM {table} WHERE id = ANY({ids}::text[])
  AND xmin::text || '/' || xmax::text =
  ({versions}::text[])[array_position({ids}::text[], id::text)]
  ORDER BY {order} FOR UPDATE SKIP LOCKED"""
_PARTS = {
    "spent": "INSERT INTO used_proofs (mark) SELECT unnest($1::bytea[]) "
    "ON CONFLICT DO NOTHING RETURNING 1",
    "held": _HELD.format(table="credentials", ids="$2", versions="$3", order="public_key"),
    "people": _HELD.format(table="users", ids="$4", versions="$5", order="id"),
}
_OUTRUN = "('authsvc starts over, another transaction was quicker' || cardinality($1))::int"
_CASES = """CASE WHEN (SELECT count(*) FROM spent) <> cardinality($1) THEN {outrun}
  WHEN (SELECT count(*) FROM held) <> cardinality($2) THEN {outrun}
  WHEN (SELECT count(*) FROM people) <> cardinality($4) THEN {outrun} END"""
_GUARD = _CASES.format(outrun=_OUTRUN)


@cache
def _writing(parts: Sequence[Prepared]) -> str:
    texts = texts_for_postgresql(parts, 6)
    named = {**_PARTS, **{f"part{place}": text for place, text in enumerate(texts)}}
    joined = ", ".join(f"{name} AS ({text})" for name, text in named.items())
    return f"WITH {joined} SELECT {_GUARD}"


async def write(driver: Driver, seen: Seen, marks: Sequence[bytes], parts: Sequence[Part]) -> None:
    """Use proofs up and write, if nobody wrote or locked what was seen; committed on return.

    Args:
        driver: PostgreSQL's.
        seen: All of it is locked.
        marks: Of the proofs, in order.
        parts: What is written.

    Raises:
        Outrun: Somebody did, or was first with a proof, a user or a key; nothing was written.
        PostgresError: As asyncpg reports it; InterfaceError and OSError too. Where the connection
            broke, it is not known whether it was written.
    """
    await driver.fetch(
        _writing(tuple(part for part, _ in parts)),
        marks,
        [*seen.credential_versions],
        [*seen.credential_versions.values()],
        [*seen.user_versions],
        [*seen.user_versions.values()],
        *columns_for_postgresql(parts, driver.dialect),
    )
