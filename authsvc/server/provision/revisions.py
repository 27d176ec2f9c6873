"""Changes that must reach nats-server: each raises its account's revision in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import AccountFull
from authsvc.server.models import Account, Revocation, new_id
from authsvc.server.provision.ceiling import MOST_REVOCATIONS

__all__ = ["Cut", "live_revocations", "note_revocation", "note_revocations", "raise_revision"]

_EVERYBODY = "*"


class Cut(NamedTuple):
    """An nkey whose JWTs are refused up to a moment; times are seconds since the epoch."""

    public_key: str
    revoked_at: int
    """JWTs with an ``iat`` up to this second are refused."""
    expires_at: int
    """When the last JWT that it hits has expired."""


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
    cut = Cut(public_key, revoked_at, expires_at)
    await note_revocations(session, [cut], account_id=account_id, now=now)


async def note_revocations(
    session: AsyncSession, cuts: Sequence[Cut], *, account_id: str, now: int
) -> None:
    """Add many revocations to the account, never moving an earlier one back.

    Args:
        session: Writing; the edge commits.
        cuts: Each nkey once.
        account_id: The account whose JWT carries them.
        now: Seconds since the epoch.

    Raises:
        AccountFull: The account JWT would become larger than nats-server takes.
    """
    if not cuts:
        return
    # The account's row first: who writes its revocations holds it, and none wait crosswise.
    await raise_revision(session, account_id)
    dialect = session.get_bind().dialect.name
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(
        Revocation.__table__  # type: ignore[attr-defined]
    )
    choose = getattr(func, "greatest" if dialect == "postgresql" else "max")
    statement = insert.on_conflict_do_update(
        index_elements=["account_id", "public_key"],
        set_={
            "revoked_at": choose(col(Revocation.revoked_at), insert.excluded.revoked_at),
            "expires_at": choose(col(Revocation.expires_at), insert.excluded.expires_at),
        },
    )
    await session.execute(
        statement,
        [
            {"id": new_id("rev"), "account_id": account_id, "created_at": now, **cut._asdict()}
            for cut in cuts
        ],
    )
    if any(cut.public_key != _EVERYBODY for cut in cuts):  # that one always has room
        await _check_room(session, account_id, now)


async def live_revocations(session: AsyncSession, account_id: str, now: int) -> int:
    """How many entries the account JWT has to carry by now (seconds since the epoch)."""
    count = await session.scalar(
        select(func.count())
        .where(col(Revocation.account_id) == account_id)
        .where(col(Revocation.expires_at) >= now)
    )
    return count or 0


async def _check_room(session: AsyncSession, account_id: str, now: int) -> None:
    """Refuse what could not be told to nats-server."""
    if await live_revocations(session, account_id, now) > MOST_REVOCATIONS:
        raise AccountFull(
            f"the account holds {MOST_REVOCATIONS} revocations of JWTs that still live, and its "
            "JWT has no room for more; wait until some have expired, or revoke everything issued "
            "before a moment, which is a single entry"
        )
