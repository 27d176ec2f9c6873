"""Creating users, one or a batch of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import ClaimsTooLarge, Conflict, InvalidName
from authsvc.server import audit
from authsvc.server.models import User, new_id
from authsvc.server.sessions.proofs import insert_into
from authsvc.server.sessions.sizes import Caps, ensure_fit
from authsvc.server.sessions.supersede import hold_permissions

__all__ = ["Creation", "NewUser", "create_users", "note_growth"]

_ID = re.compile(r"usr_[0-9a-v]{26}\Z")
"""What an id looks like; no user is called so, because paths name users by either."""

_users = User.__table__  # type: ignore[attr-defined]
_select_existing = select(_users.c.username, _users.c.id).where(
    _users.c.username.in_(bindparam("names", expanding=True))
)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who may be created.

    Args:
        username: As an administrator wrote it; canonical from then on.
        kind: ``email`` or ``service``.
        roles: Names of roles.
        max_subscriptions: In place of the setting's default.
        max_payload: The same, bytes.

    Raises:
        InvalidName: The contract refuses the name, or it could be taken for an id.
    """

    username: str
    kind: Literal["email", "service"] = "email"
    roles: tuple[str, ...] = ()
    max_subscriptions: int | None = None
    max_payload: int | None = None

    def __post_init__(self) -> None:
        form = subjects.username(self.username)
        if self.kind == "email" and "@" not in form:
            raise InvalidName(
                "the username is no e-mail address: it has no @; a service account needs "
                '"kind": "service"'
            )
        if _ID.match(form):
            raise InvalidName("the username looks like a user's id, which paths could not tell")
        object.__setattr__(self, "username", form)
        object.__setattr__(self, "roles", tuple(dict.fromkeys(self.roles)))


class Creation(NamedTuple):
    """What became of one new user."""

    id: str
    created: bool
    """False where there was such a user already; nothing about that one was changed."""


async def create_users(
    session: AsyncSession,
    new: Sequence[NewUser],
    *,
    caps: Caps,
    context: audit.Context,
    now: float,
) -> list[Creation | ClaimsTooLarge]:
    """Create the users who are not there yet, in a few statements.

    Args:
        session: Writing; the edge commits.
        new: Whom; a name that stands twice is created once.
        caps: The limits of users who have none of their own.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Returns:
        One for each, in the same order; the exception where a user's roles bring too much.
    """
    if any(user.roles for user in new):
        await hold_permissions(session)
    # Sorted, so that two imports of one file don't wait for each other crosswise.
    first = {user.username: user for user in reversed(new)}
    rows = [_row(first[name], int(now)) for name in sorted(first)]
    connection = await session.connection()
    ids = await connection.run_sync(_insert, rows)
    created = {row["username"]: row for row in rows if ids[row["username"]] == row["id"]}
    with_roles = [row["id"] for row in created.values() if row["roles"]]
    refused = await _take_back(session, with_roles, caps) if with_roles else {}
    at = int(now * 1000)
    events = [
        audit.event(context, "user.create", "user", row["id"], _details(row), at)
        for row in created.values()
        if row["id"] not in refused
    ]
    await audit.append(session, events)
    found: list[Creation | ClaimsTooLarge] = []
    for user in new:
        is_new = created.pop(user.username, None) is not None
        user_id = ids[user.username]
        found.append(refused.get(user_id) or Creation(user_id, is_new))
    return found


async def _take_back(
    session: AsyncSession, ids: Sequence[str], caps: Caps
) -> dict[str, ClaimsTooLarge]:
    """Remove new users whose roles bring more than fits into a JWT."""
    try:
        await ensure_fit(session, ids, caps)
    except ClaimsTooLarge:
        refused = {}
        for user_id in ids:
            try:
                await ensure_fit(session, [user_id], caps)
            except ClaimsTooLarge as error:
                refused[user_id] = error
        await session.execute(delete(User).where(col(User.id).in_(refused)))
        return refused
    return {}


def _row(user: NewUser, now: int) -> dict[str, Any]:
    return {
        "id": new_id("usr"),
        "username": user.username,
        "token": subjects.token(user.username),
        "kind": user.kind,
        "roles": list(user.roles),
        "max_subscriptions": user.max_subscriptions,
        "max_payload": user.max_payload,
        "version": 1,
        "created_at": now,
    }


def _details(row: dict[str, Any]) -> dict[str, Any]:
    told = ("kind", "roles", "max_subscriptions", "max_payload")
    return {"username": row["username"], **{name: row[name] for name in told if row[name]}}


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Insert what is not there yet; the id of every one of the names."""
    if not rows:
        return {}
    statement = insert_into(connection, _users).on_conflict_do_nothing()
    statement = statement.returning(_users.c.username, _users.c.id)
    ids = {row.username: row.id for row in connection.execute(statement, rows)}
    missing = [row["username"] for row in rows if row["username"] not in ids]
    if missing:
        found = connection.execute(_select_existing, {"names": missing})
        ids |= {row.username: row.id for row in found}
        if len(ids) < len(rows):
            raise Conflict("a user of that name was deleted at this moment; try again")
    return ids


async def note_growth(session: AsyncSession) -> None:
    """Let the database see that there are many more users than before.

    PostgreSQL keeps the plans it made for a small table, which read all of it, until it has
    looked again; by itself it does so a minute later.

    Args:
        session: Writing; the edge commits.
    """
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("ANALYZE users"))
