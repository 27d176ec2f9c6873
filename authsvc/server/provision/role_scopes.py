"""Scoped roles as their account's JWT has them: for each a signing key with a template."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import UserScope
from authsvc.server import policy
from authsvc.server.models import Grant, Role, SigningKey

__all__ = ["role_scopes"]


async def role_scopes(session: AsyncSession, account_id: str) -> list[UserScope]:
    """The templates of an account's scoped roles, by name.

    The same rows give the same templates, entry by entry: nats-server disconnects everybody
    whose template looks different.

    Args:
        session: Any.
        account_id: Which account.
    """
    roles = list(
        await session.scalars(
            select(Role)
            .join(SigningKey, col(SigningKey.public_key) == col(Role.public_key))
            .where(col(Role.account_id) == account_id)
            .where(col(SigningKey.state) != "retired")
            .order_by(col(Role.name))
        )
    )
    if not roles:
        return []
    names = [role.name for role in roles]
    grants: defaultdict[str, list[Grant]] = defaultdict(list)
    for grant in await session.scalars(
        select(Grant).where(col(Grant.role).in_(names)).order_by(col(Grant.id))
    ):
        grants[str(grant.role)].append(grant)
    return [
        UserScope(
            key=role.public_key,
            role=role.name,
            permissions=policy.template(grants[role.name]),
            subs=role.max_subscriptions,
            payload=role.max_payload,
        )
        for role in roles
    ]
