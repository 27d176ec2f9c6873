"""Pages of users and credentials, quick with many of them."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from sqlalchemy import func, select, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import NotFound
from authsvc.server.models import App, Credential, Grant, User

__all__ = ["Counts", "count_belongings", "get_credential", "list_all_credentials", "list_users"]

_LAST = "\U0010ffff"
"""Sorts behind everything that a name may hold."""


class Counts(NamedTuple):
    """How much belongs to a user."""

    credentials: int
    active_credentials: int
    grants: int
    apps: int


async def list_users(
    session: AsyncSession,
    *,
    limit: int,
    after: str | None = None,
    search: str | None = None,
    role: str | None = None,
    state: Literal["active", "disabled"] | None = None,
) -> list[User]:
    """Users by name.

    Args:
        session: Any.
        limit: How many at most.
        after: The last name that was seen.
        search: What the names begin with, by an index; where no name begins so, what they
            contain, which reads them all.
        role: A role that they have.
        state: Whether they are disabled.
    """
    name = col(User.username)
    statement: Any = select(User)
    if search:
        begins: Any = (name >= search) & (name < search + _LAST)
        if await session.scalar(select(name).where(begins).limit(1)) is None:
            begins = name.contains(search, autoescape=True)
        statement = statement.where(begins)
    if role is not None:
        # Spelt as in the index over the few who have roles.
        statement = statement.where(text("roles <> '[]'"), _has_role(session, role))
    if state is not None:
        disabled = col(User.disabled_at)
        wanted = disabled.is_(None) if state == "active" else disabled.is_not(None)
        statement = statement.where(wanted)
    if after is not None:
        statement = statement.where(name > after)
    return list(await session.scalars(statement.order_by(name).limit(limit)))


def _has_role(session: AsyncSession, role: str) -> Any:
    if session.get_bind().dialect.name == "postgresql":
        return type_coerce(col(User.roles), JSONB).contains([role])
    each = func.json_each(col(User.roles)).table_valued("value")
    return select(1).select_from(each).where(each.c.value == role).exists()


async def count_belongings(session: AsyncSession, user_id: str, now: float) -> Counts:
    """How much belongs to a user now (seconds since the epoch)."""
    credential = col(Credential.user_id) == user_id
    active = (col(Credential.revoked_at).is_(None), col(Credential.expires_at) > now)
    queries = (
        select(func.count()).select_from(Credential).where(credential),
        select(func.count()).select_from(Credential).where(credential, *active),
        select(func.count()).select_from(Grant).where(col(Grant.user_id) == user_id),
        select(func.count()).select_from(App).where(col(App.user_id) == user_id),
    )
    row = (await session.execute(select(*(query.scalar_subquery() for query in queries)))).one()
    return Counts(*row)


async def get_credential(session: AsyncSession, credential_id: str) -> tuple[Credential, str]:
    """A credential and its user's name.

    Raises:
        NotFound: There is none.
    """
    statement = select(Credential, col(User.username)).join(
        User, col(User.id) == col(Credential.user_id)
    )
    row = None
    if credential_id.isprintable():  # PostgreSQL takes no NUL
        found = await session.execute(statement.where(col(Credential.id) == credential_id))
        row = found.one_or_none()
    if row is None:
        raise NotFound("there is no such credential")
    return row[0], row[1]


async def list_all_credentials(
    session: AsyncSession,
    *,
    limit: int,
    now: float,
    after: str | None = None,
    user_id: str | None = None,
    state: Literal["active", "expired", "revoked"] | None = None,
) -> list[tuple[Credential, str]]:
    """Credentials of any user, newest first, each with its user's name.

    Args:
        session: Any.
        limit: How many at most.
        now: Seconds since the epoch.
        after: The id of the last one that was seen; ids sort by their time of creation.
        user_id: The only user whose credentials are wanted, if not all.
        state: What has become of them by now.
    """
    statement: Any = select(Credential, col(User.username)).join(
        User, col(User.id) == col(Credential.user_id)
    )
    if user_id is not None:
        statement = statement.where(col(Credential.user_id) == user_id)
    revoked, expires = col(Credential.revoked_at), col(Credential.expires_at)
    if state == "revoked":
        statement = statement.where(revoked.is_not(None))
    elif state is not None:
        ended = expires <= now if state == "expired" else expires > now
        statement = statement.where(revoked.is_(None), ended)
    if after is not None:
        statement = statement.where(col(Credential.id) < after)
    rows = await session.execute(statement.order_by(col(Credential.id).desc()).limit(limit))
    return [(row[0], row[1]) for row in rows]
