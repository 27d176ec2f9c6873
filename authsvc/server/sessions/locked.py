"""Logins and renewals on SQLite, whose one writer locks everything: look, decide, write.

    seen = await look(driver, wanted, account_id)          # takes the write lock
    ... decide, sign ...
    await write(driver, seen, marks, book.parts())         # and commits

The same in the desk's transaction goes through SQLAlchemy, and waits in the event loop's thread
for SQLite to write; here that is done in the commit's thread, with the commit. It is the twin of
``optimistic``, which does the same on PostgreSQL.

Source: https://www.sqlite.org/lang_transaction.html (BEGIN IMMEDIATE).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson

from authsvc.server.driver import Outrun
from authsvc.server.sessions import reads
from authsvc.server.sessions.optimistic import Seen
from authsvc.server.sessions.reads import GrantRow
from authsvc.server.sessions.signing import KeyRow, select_keys
from authsvc.server.sessions.states import USER_COLUMNS, CredentialState, UserState
from authsvc.server.sessions.wanted import Wanted
from authsvc.server.sqlite_driver import BLOBS, SQLITE, SqliteDriver, bind, blobs
from authsvc.server.statements import Part, all_for_sqlite

__all__ = ["look", "write"]

_NUL = "\\u0000"
_USED = f"SELECT mark FROM used_proofs WHERE mark IN ({BLOBS})"  # noqa: S608 - nobody's input
_SPEND = f"INSERT INTO used_proofs (mark) {BLOBS}"
_FAILED = f"SELECT 1 FROM attempt_counts WHERE mark IN ({BLOBS}) AND ends_at > ?4 LIMIT 1"  # noqa: S608
_ROLES = USER_COLUMNS.index("roles")


@cache
def _keys(account_id: str) -> tuple[str, tuple[Any, ...]]:
    statement = select_keys(account_id)
    text, values = bind(statement, statement.compile().params)
    return text, tuple(values)


def _fetch(driver: SqliteDriver, statement: Any, **values: Any) -> list[Any]:
    text, given = bind(statement, values)
    return driver.fetch(text, *given)


async def look(driver: SqliteDriver, wanted: Wanted, account_id: str) -> Seen:
    """Read what orders need, under the write lock.

    Args:
        driver: Outside a transaction.
        wanted: By the orders; users by their ids are none of it.
        account_id: Whose keys sign.

    Raises:
        DatabaseError: As sqlite3 reports it.
    """
    await driver.begin()
    seen = Seen()
    if wanted.doubtful:
        # Of all others it shows when they are written: they are in nobody's memory.
        seen.used = {mark for (mark,) in driver.fetch(_USED, *blobs(wanted.doubtful))}
    if wanted.attempts:
        seen.failed = bool(driver.fetch(_FAILED, *blobs(wanted.attempts), wanted.now))
    given = reads.listed(wanted.public_keys)
    for row in _fetch(driver, reads.credentials_sqlite, public_keys=given):
        credential = CredentialState(*row)
        seen.credentials[credential.public_key] = credential
    found = seen.credentials
    owners = {found[key].user_id for key in wanted.renewed if key in found}
    people = _fetch(
        driver,
        reads.users_sqlite,
        names=reads.listed(wanted.names),
        user_ids=reads.listed([*owners]),
    )
    seen.users = [_user(row) for row in people]
    text, values = _keys(account_id)
    seen.keys = [KeyRow(*row) for row in driver.fetch(text, *values)]
    ids = [user.id for user in seen.users]
    grants = _fetch(driver, reads.grants_sqlite, user_ids=reads.listed(ids))
    seen.grants = [
        GrantRow(owner, role, orjson.loads(publish), orjson.loads(subscribe))
        for owner, role, publish, subscribe in grants
    ]
    if len(found) < len(wanted.public_keys):
        seen.dead = {key for (key,) in _fetch(driver, reads.dead_sqlite, unknown=given)}
    return seen


def _user(row: Sequence[Any]) -> UserState:
    user = UserState(*row)
    user.roles = orjson.loads(row[_ROLES])
    return user


async def write(
    driver: SqliteDriver, _seen: Seen, marks: Sequence[bytes], parts: Sequence[Part]
) -> None:
    """Use proofs up, and write; committed on return.

    Args:
        driver: Since ``look``.
        marks: Of the proofs.
        parts: What is written.

    Raises:
        Outrun: A proof was used before after all, or a text can't go this way; nothing was
            written.
        DatabaseError: As sqlite3 reports it; nothing was written.
    """
    statements: list[tuple[str, Sequence[Any]]] = [*all_for_sqlite(parts, SQLITE)]
    if any(_NUL in rows for _, (rows,) in statements):
        raise Outrun("in SQLite's JSON a text ends where it has a NUL")
    if marks:
        statements.insert(0, (_SPEND, blobs(marks)))
    try:
        await driver.commit(statements)
    except sqlite3.IntegrityError as error:
        raise Outrun(str(error)) from error
