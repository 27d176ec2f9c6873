"""Ending the JWTs that a user has, while the keys may renew: when something is taken away."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.models import Credential, User
from authsvc.server.provision.revisions import Cut, note_revocations

__all__ = ["supersede"]


async def supersede(session: AsyncSession, user: User, *, account_id: str, now: float) -> int:
    """Refuse every JWT that the user was issued so far, here and at nats-server.

    Connections end, and a renewal brings a JWT of a later second that says what holds now.

    Args:
        session: Writing; the edge commits.
        user: The locked row: nobody issues for the user meanwhile.
        account_id: The account whose JWT carries the revocations.
        now: Seconds since the epoch.

    Returns:
        How many nkeys had a JWT that was still alive.
    """
    alive = await _alive(session, user.id, int(now))
    # A JWT may be of a later second than this one, after another supersession or from a replica
    # whose clock is ahead.
    moment = max([int(now), user.superseded_at or 0, *(issued_at for _, issued_at, _ in alive)])
    user.superseded_at = moment
    cuts = [Cut(public_key, moment, until) for public_key, _, until in alive]
    await note_revocations(session, cuts, account_id=account_id, now=int(now))
    return len(cuts)


async def _alive(session: AsyncSession, user_id: str, now: int) -> list[tuple[str, int, int]]:
    """Key, last ``iat`` and end of each credential that nats-server may still let in."""
    rows = await session.execute(
        select(col(Credential.public_key), col(Credential.issued_at), col(Credential.alive_until))
        .where(col(Credential.user_id) == user_id)
        .where(col(Credential.revoked_at).is_(None))
        .where(col(Credential.alive_until) >= now)
        .order_by(col(Credential.public_key))
    )
    return [(row.public_key, row.issued_at, row.alive_until) for row in rows]
