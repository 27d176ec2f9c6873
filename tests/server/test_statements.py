"""Rows written many at once read back as they were given, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, event, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError
from sqlmodel import col

from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.models import AttemptCount, AuditEvent, Credential, User
from authsvc.server.sqlite_driver import SqliteDriver
from authsvc.server.statements import Part, Prepared, all_for_sqlite, run_all

_users = User.__table__  # type: ignore[attr-defined]
_credentials = Credential.__table__  # type: ignore[attr-defined]
_counts = AttemptCount.__table__  # type: ignore[attr-defined]
USERS = Prepared(_users, [column.name for column in _users.c])
CREDENTIALS = Prepared(_credentials, [column.name for column in _credentials.c])
NAMES = Prepared(_credentials, ["name", "ttl"], by="id")
HOSTILE = [
    "",
    "plain",
    'quo"te',
    "back\\slash",
    "a,b{c}",
    "NULL",
    "\n\t\x01",
    "日本語 \U0001f600",
    "'",
]


def user(number: int, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(column.name for column in _users.c)
    row |= {"id": f"usr_{number}", "username": f"u{number}@x.com", "token": f"t{number}"}
    return row | {"kind": "email", "roles": [], "version": 1, "created_at": 2**40} | values


def credential(number: int, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        column.name: "x" if column.type.python_type is object else 7 for column in _credentials.c
    }
    row |= {"id": f"crd_{number}", "user_id": f"usr_{number}", "public_key": f"U{number}"}
    return row | {"app": None, "ttl": None, "revoked_at": None} | values


def deed(number: int, details: dict[str, Any]) -> dict[str, Any]:
    context = audit.Context(audit.Actor("user", "usr_1"), f"r{number}", "::1")
    return audit.event(context, "user.change", "user", f"usr_{number}", details, number)


async def _rows(database: Database, table: Any) -> list[dict[str, Any]]:
    async with database.reading() as session:
        found = await session.execute(select(table).order_by(table.c[0]))
        return [dict(row) for row in found.mappings()]


async def test_values_read_back_as_they_were(database: Database) -> None:
    users = [
        user(number, username=f"{text}{number}", roles=[text, "b"], disabled_at=number or None)
        for number, text in enumerate(HOSTILE)
    ]
    await database.transact(lambda connection: USERS.run(connection, users))
    assert await _rows(database, _users) == users
    counts = Prepared(_counts, ["mark", "number", "started_at", "ends_at"])
    rows = [
        {"mark": bytes([number, 0, 255]), "number": -number, "started_at": 0, "ends_at": 2**62}
        for number in range(3)
    ]
    await database.transact(lambda connection: counts.run(connection, rows))
    assert await _rows(database, _counts) == rows


async def test_all_rows_by_one_statement_of_sqlite(sqlite_url: str) -> None:
    """The same as a row at a time; but a NUL would end a text, and blobs have no word in JSON."""
    database = Database(sqlite_url)
    users = [
        user(number, username=f"{text}{number}", roles=[text, "b"], disabled_at=number or None)
        for number, text in enumerate(HOSTILE)
    ]
    deeds = [deed(number, {"text": text}) for number, text in enumerate(HOSTILE)]
    known = [credential(1), credential(2)]
    changed = [{"id": "crd_2", "name": HOSTILE[3], "ttl": None}]
    parts: list[Part] = [(USERS, users), (CREDENTIALS, known), (audit.INSERT, deeds), (NAMES, [])]

    async def step(driver: SqliteDriver) -> None:
        await driver.begin()
        await driver.commit(all_for_sqlite(parts, sqlite.dialect()))
        await driver.begin()
        await driver.commit(all_for_sqlite([(NAMES, changed)], sqlite.dialect()))

    await database.converse(step)
    assert await _rows(database, _users) == users
    assert await _rows(database, _credentials) == [known[0], {**known[1], **changed[0]}]
    async with database.reading() as session:
        found = list(await session.scalars(select(AuditEvent).order_by(col(AuditEvent.seq))))
    assert [(row.id, row.details) for row in found] == [(it["id"], it["details"]) for it in deeds]
    with pytest.raises(TypeError):
        _ = Prepared(_counts, ["mark", "number"]).all_for_sqlite
    await database.stop()


async def test_documents_read_back_as_they_were(database: Database) -> None:
    details = [{"text": text, "list": [1, None, {"a": text}], "n": 2**53} for text in HOSTILE]
    deeds = [deed(number, each) for number, each in enumerate([{}, *details])]
    await database.transact(lambda connection: audit.INSERT.run(connection, deeds))
    async with database.reading() as session:
        found = list(await session.scalars(select(AuditEvent).order_by(col(AuditEvent.seq))))
    # Numbered in the order in which they were given.
    assert [(row.id, row.details) for row in found] == [(it["id"], it["details"]) for it in deeds]


async def test_rows_are_changed_by_their_key_and_no_others(database: Database) -> None:
    def step(connection: Connection) -> None:
        run_all(
            connection,
            (USERS, [user(number) for number in range(4)]),
            (CREDENTIALS, [credential(number) for number in range(4)]),
        )
        NAMES.run(
            connection,
            [{"id": "crd_2", "name": "two", "ttl": 5}, {"id": "crd_0", "name": "0", "ttl": None}],
        )

    await database.transact(step)
    found = [(row["name"], row["ttl"]) for row in await _rows(database, _credentials)]
    assert found == [("0", None), ("x", None), ("two", 5), ("x", None)]


async def test_nothing_to_write_is_no_statement(database: Database) -> None:
    texts = await _statements(database, lambda it: run_all(it, (USERS, []), (NAMES, [])))
    assert texts == []


async def test_postgresql_takes_all_rows_in_one_statement(database: Database) -> None:
    users, credentials = [user(0), user(1)], [credential(0), credential(1)]
    # Of a user who is made by the same statement: keys are checked at its end.
    parts = ((CREDENTIALS, credentials), (USERS, users), (audit.INSERT, [deed(1, {})]))
    if database.is_sqlite:
        parts = (parts[1], parts[0], parts[2])
    texts = await _statements(database, lambda connection: run_all(connection, *parts))
    assert len(texts) == (3 if database.is_sqlite else 1)
    assert await _rows(database, _users) == users
    assert await _rows(database, _credentials) == credentials


async def _statements(database: Database, step: Any) -> list[str]:
    seen: list[str] = []

    def watched(connection: Connection) -> None:
        event.listen(
            connection, "before_cursor_execute", lambda *arguments: seen.append(arguments[2])
        )
        step(connection)

    await database.transact(watched)
    return seen


async def test_what_a_constraint_refuses_is_no_secret_s_way_out(database: Database) -> None:
    await database.transact(lambda connection: USERS.run(connection, [user(1)]))
    again = [user(2), user(3, username="u1@x.com", token="sesame")]
    with pytest.raises(IntegrityError) as caught:
        await database.transact(lambda connection: USERS.run(connection, again))
    assert "sesame" not in str(caught.value)
    assert await _rows(database, _users) == [user(1)]


async def test_a_row_that_lacks_a_value_is_a_mistake(database: Database) -> None:
    with pytest.raises(KeyError):
        await database.transact(lambda connection: NAMES.run(connection, [{"id": "crd_1"}]))
