"""Changes that must reach nats-server: each raises its account's revision in its transaction."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import AccountFull
from authsvc.server.models import Account, Revocation, new_id
from authsvc.server.provision.ceiling import MOST_REVOCATIONS

__all__ = ["note_revocation", "raise_revision"]

_EVERYBODY = "*"


async def raise_revision(session: AsyncSession, account_id: str) -> None:
    """Say that the account's JWT must be made anew; ``reconcile`` does it after the commit."""
    await session.execute(
        update(Account)
        .where(col(Account.id) == account_id)
        .values(revision=col(Account.revision) + 1)
    )


async def note_revocation(
    session: AsyncSession,
    *,
    account_id: str,
    public_key: str,
    revoked_at: int,
    expires_at: int,
    now: int,
) -> None:
    """Add a revocation to the account, never moving an earlier one back.

    Args:
        session: Writing; the edge commits.
        account_id: The account whose JWT carries it.
        public_key: The user's nkey, or ``*`` for everybody.
        revoked_at: JWTs with an ``iat`` up to this second are refused.
        expires_at: When the last JWT that it hits has expired; it can be pruned then.
        now: Seconds since the epoch.

    Raises:
        AccountFull: The account JWT would become larger than nats-server takes.
    """
    await _check_room(session, account_id, public_key, now)
    dialect = session.get_bind().dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(Revocation)
    larger = "greatest" if dialect == "postgresql" else "max"
    choose = getattr(func, larger)
    statement = insert.values(
        id=new_id("rev"),
        account_id=account_id,
        public_key=public_key,
        revoked_at=revoked_at,
        expires_at=expires_at,
        created_at=now,
    )
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["account_id", "public_key"],
            set_={
                "revoked_at": choose(col(Revocation.revoked_at), statement.excluded.revoked_at),
                "expires_at": choose(col(Revocation.expires_at), statement.excluded.expires_at),
            },
        )
    )
    await raise_revision(session, account_id)


async def _check_room(session: AsyncSession, account_id: str, public_key: str, now: int) -> None:
    """Refuse what could not be told to nats-server; ``*`` always has room."""
    live = (
        select(func.count())
        .where(col(Revocation.account_id) == account_id)
        .where(col(Revocation.expires_at) >= now)
    )
    if public_key == _EVERYBODY or (await session.scalar(live) or 0) < MOST_REVOCATIONS:
        return
    own = live.where(col(Revocation.public_key) == public_key)
    if not await session.scalar(own):
        raise AccountFull(
            f"the account holds {MOST_REVOCATIONS} revocations of JWTs that still live, and its "
            "JWT has no room for more; wait until some have expired, or revoke everything issued "
            "before a moment, which is a single entry"
        )
