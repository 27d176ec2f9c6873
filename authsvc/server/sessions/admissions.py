"""Credentials of connections that auth callout let in: how many live, and what becomes of them.

Their nkeys were made by nats-server, each for one connection, so nobody renews them and their
rows are needed only while a JWT lives: to cut the connection when the user is disabled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, bindparam, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.models import Credential, User
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.sessions.orders import Admission

__all__ = ["count_admissions", "cut_late_admissions", "forget_admissions"]

_AT_ONCE = 1000
# Spelt out, because SQLite takes a partial index only where it sees the condition.
_OF_CALLOUT = text(f"credentials.method = '{Admission.METHOD}'")
_count = (
    select(col(Credential.user_id), func.count().label("number"))
    .where(_OF_CALLOUT)
    .where(col(Credential.user_id).in_(bindparam("ids", expanding=True)))
    .where(col(Credential.alive_until) > bindparam("now"))
    .group_by(col(Credential.user_id))
)


def count_admissions(connection: Connection, user_ids: Iterable[str], now: int) -> dict[str, int]:
    """How many connections each user was let in with that may still be there.

    Args:
        connection: Any; nothing is written.
        user_ids: Whose.
        now: Seconds since the epoch.
    """
    found = connection.execute(_count, {"ids": list(user_ids), "now": now})
    return {row.user_id: row.number for row in found}


async def forget_admissions(session: AsyncSession, now: float, ttl: int) -> None:
    """Delete rows whose JWT has expired by now; the audit keeps them.

    Args:
        session: Writing.
        now: Seconds since the epoch.
        ttl: The life of their JWTs in seconds; where it was longer, some wait a while longer.
    """
    dead = (
        select(col(Credential.id))
        .where(_OF_CALLOUT)
        # By this they are found: an index on the end of JWTs would grow with every login of
        # everybody, who are no concern of it.
        .where(col(Credential.created_at) < int(now) - ttl)
        .where(col(Credential.alive_until) < int(now))
        .limit(_AT_ONCE)
    )
    await session.execute(delete(Credential).where(col(Credential.id).in_(dead)))


async def cut_late_admissions(
    session: AsyncSession, account_id: str, credentials: Sequence[str]
) -> int:
    """See to it that nats-server looks again at connections it let in after they were revoked.

    nats-server applies revocations to the connections it has when it is told of them, and asks
    nobody about them when it lets one in by callout. What was revoked between the answer and the
    letting in would live on, so the account's JWT is made and pushed once more.

    Args:
        session: Writing; the edge commits.
        account_id: The people's account.
        credentials: Ids of credentials whose connections are in by now.

    Returns:
        How many of them were revoked, superseded or deleted since.
    """
    alive = await session.scalar(
        select(func.count())
        .select_from(Credential)
        .join(User, col(User.id) == col(Credential.user_id))
        .where(col(Credential.id).in_(credentials))
        .where(col(Credential.revoked_at).is_(None))
        .where(col(User.disabled_at).is_(None))
        .where(func.coalesce(col(Credential.superseded_at), -1) < col(Credential.issued_at))
        .where(func.coalesce(col(User.superseded_at), -1) < col(Credential.issued_at))
    )
    late = len(credentials) - (alive or 0)
    if late:
        await raise_revision(session, account_id)
    return late
