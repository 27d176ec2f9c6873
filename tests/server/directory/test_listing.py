"""Lists are read by an index, with however many users."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import InvalidName
from authsvc.server.database import Database
from authsvc.server.directory import NewUser, list_all_credentials, list_users
from authsvc.server.models import User, new_id
from authsvc.server.provision.mail_rows import desired_by_token
from authsvc.subjects import token

Query = Callable[[AsyncSession], Awaitable[Any]]
INDEXED: dict[str, Query] = {
    "page": lambda session: list_users(session, limit=100, after="m"),
    "search": lambda session: list_users(session, limit=100, search="user1"),
    "role": lambda session: list_users(session, limit=100, role="boss"),
    "disabled": lambda session: list_users(session, limit=100, state="disabled"),
    "credentials": lambda session: list_all_credentials(session, limit=100, now=1, after="crd_z"),
    "mailbox": lambda session: desired_by_token(session, "user%2E1"),
    "of a user": lambda session: list_all_credentials(session, limit=9, now=1, user_id="usr_1"),
}


def user(name: str, **values: Any) -> User:
    return User(
        id=new_id("usr"), username=name, token=token(name), kind="service", created_at=1, **values
    )


async def plan(database: Database, query: Query) -> str:
    """How the database would answer the last statement of a query."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    engine = database._reader.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        async with database.reading() as session:
            await query(session)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    statement, parameters = seen[-1]
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    async with database.reading() as session:
        connection = await session.connection()
        if not database.is_sqlite:
            # A small table is read as a whole; what is asked here is whether it must be.
            for way in ("seqscan", "bitmapscan", "sort", "hashjoin", "mergejoin"):
                await session.execute(text(f"SET LOCAL enable_{way} = off"))
        rows = await connection.exec_driver_sql(f"{explain} {statement}", parameters)
        return "\n".join(str(row[-1]) for row in rows)


async def test_an_index_serves(database: Database) -> None:
    async with database.writing() as session:
        session.add_all(user(f"user{n}", roles=["boss"] if n % 99 == 0 else []) for n in range(500))
    for name, query in INDEXED.items():
        served(name, await plan(database, query))


def served(name: str, found: str) -> None:
    """Whether the plan is one by an index."""
    assert not re.search(r"Seq Scan|SCAN (users|credentials)(?! USING)", found), (name, found)
    if name not in {"of a user", "mailbox"}:  # they are few and may be sorted
        assert not re.search(r"Sort|TEMP B-TREE", found), (name, found)
    if name in {"role", "disabled"}:
        index = {"role": "ix_users_with_roles", "disabled": "ix_users_disabled"}[name]
        assert index in found, found


async def test_a_plan_without_index_would_be_seen(database: Database) -> None:
    async def unindexed(session: AsyncSession) -> None:
        await session.scalars(select(User).order_by(col(User.last_login_at)))

    found = await plan(database, unindexed)
    assert re.search(r"Seq Scan|SCAN (users|credentials)(?! USING)", found), found
    assert re.search(r"Sort|TEMP B-TREE", found), found


async def test_search_finds_what_begins_so_or_else_what_contains_it(database: Database) -> None:
    names = sorted(
        {"ab", "abc", "a%b", "a_b", "\u00e9ab", "\u65e5ab", "b\\a", "zab%", "\U0001f600x"}
    )
    async with database.writing() as session:
        session.add_all(user(name) for name in names)
    for search in (*names, "a", "b", "%", "_", "\\", "ab%", "\u00e9", "\U0001f600", "b%", "none"):
        begin = [name for name in names if name.startswith(search)]
        expected = begin or [name for name in names if search in name]
        async with database.reading() as session:
            found = [it.username for it in await list_users(session, limit=99, search=search)]
        assert found == sorted(expected, key=str.encode), search


@given(st.text(max_size=12), st.sampled_from(["email", "service"]))
def test_a_new_user_has_a_canonical_name_or_none(name: str, kind: Any) -> None:
    try:
        made = NewUser(name, kind)
    except InvalidName:
        return
    assert NewUser(made.username, kind) == made
    assert kind == "service" or "@" in made.username
