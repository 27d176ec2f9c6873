"""Scoped roles: whose JWTs a role's own signing key signs, and what may stand in its template.

A JWT by such a key has no permissions of its own; nats-server takes them from the template in the
account JWT, so that a change of the role's grants reaches everybody at once. What a template can't
say (a narrowed credential, limits of one's own, grants beside the role's, two such roles) is
issued the normal way.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Any, Protocol

from sqlalchemy import Select, func, literal, select, type_coerce, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import ClaimsTooLarge, InvalidInput
from authsvc.server import policy
from authsvc.server.models import Credential, Grant, Role, User
from authsvc.server.sessions.sizes import Caps, template_fits
from authsvc.server.sessions.supersede import lock_users

__all__ = [
    "check_template",
    "find_scoped",
    "members_of",
    "role_that_signs",
    "scoped_names",
    "with_other_jwts",
]


class _Member(Protocol):
    roles: list[str]
    max_subscriptions: int | None
    max_payload: int | None


def role_that_signs(user: _Member, scoped: Container[str], grants: Iterable[Any]) -> str | None:
    """The role whose key signs the user's JWTs; None for the account's own signing key.

    Args:
        user: Who.
        scoped: The roles that have a key.
        grants: All that the user has, each with its ``role``.
    """
    found = [role for role in user.roles if role in scoped]
    if len(found) != 1 or user.max_subscriptions is not None or user.max_payload is not None:
        return None
    return found[0] if all(grant.role == found[0] for grant in grants) else None


async def scoped_names(session: AsyncSession) -> frozenset[str]:
    """The names of all scoped roles."""
    return frozenset(await session.scalars(select(col(Role.name))))


async def find_scoped(session: AsyncSession, name: str | None) -> Role | None:
    """The role of that name, if there is one that is scoped."""
    return None if name is None else await session.get(Role, name, populate_existing=True)


def members_of(session: AsyncSession, role: str) -> Select[Any]:
    """A query for the ids of the users who have the role."""
    if session.get_bind().dialect.name == "postgresql":
        return select(col(User.id)).where(type_coerce(col(User.roles), JSONB).contains([role]))
    each = func.json_each(col(User.roles)).table_valued("value")
    has = select(literal(1)).select_from(each).where(each.c.value == role).exists()
    return select(col(User.id)).where(has)


async def check_template(session: AsyncSession, role: str, caps: Caps) -> None:
    """Refuse grants of a role that its template can't carry.

    Args:
        session: With the change flushed.
        role: Which.
        caps: The limits of its members.

    Raises:
        InvalidInput: nats-server would replace something in an entry.
        ClaimsTooLarge: The template would take more room than a user JWT may.
    """
    grants = list(await session.scalars(select(Grant).where(col(Grant.role) == role)))
    for entry in [entry for grant in grants for entry in (*grant.publish, *grant.subscribe)]:
        if policy.TEMPLATE_MARK in entry:
            raise InvalidInput(
                f"the role {role} is scoped, and nats-server would replace what stands in "
                f"{entry}: entries with {policy.TEMPLATE_MARK} can't be granted to it"
            )
    if not template_fits(grants, caps):
        raise ClaimsTooLarge(
            f"the template of the role {role} would be too large; take grants away, or merge "
            "entries into fewer ones with wildcards"
        )


async def with_other_jwts(
    session: AsyncSession, role: Role, members: Select[Any], now: int
) -> Select[Any]:
    """A query for the members of whom some JWT with the role's grants is not by the role's key.

    Args:
        session: Writing; the members are locked, so that none gets another JWT meanwhile.
        role: Scoped.
        members: A query for the ids of all its members.
        now: Seconds since the epoch.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        await lock_users(session, col(User.id).in_(members))
        # And written, unchanged: whoever looked at them before without a lock sees that.
        await session.execute(
            update(User)
            .where(col(User.id).in_(members))
            .values(token=col(User.token))
            .execution_options(synchronize_session=False)
        )
    other = (
        select(col(Credential.id))
        .where(col(Credential.user_id) == col(User.id))
        .where(col(Credential.signer) != role.public_key)
        .where(col(Credential.app).is_(None))  # narrowed ones have no grants
        .where(col(Credential.revoked_at).is_(None))
        .where(col(Credential.alive_until) >= now)
    )
    return select(col(User.id)).where(col(User.id).in_(members)).where(other.exists())
