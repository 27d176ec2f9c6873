"""Taking a permission away: JWTs issued so far end, their nkeys may renew at once.

    await hold_permissions(session)
    ... change grants or roles ...
    await supersede(session, account_id, [user.id], now)

What was issued up to ``users.superseded_at`` is refused by this service; a revocation entry for
each live nkey makes nats-server cut its connections. The desk issues the next JWT with an ``iat``
past that second, so it holds at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import Select, delete, func, literal, select, text, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server import audit
from authsvc.server.models import Credential, Revocation, User
from authsvc.server.provision.revisions import live_revocations, note_revocation, raise_revision

__all__ = [
    "MOST_ENTRIES",
    "UserIds",
    "has_room",
    "hold_permissions",
    "lock_users",
    "supersede",
    "supersede_everybody",
]

MOST_ENTRIES = 8000
"""Revocations in an account JWT before all are replaced by one for everybody.

About 11,000 reach the JWT's ceiling of 1 MiB.
"""

_SERVICE = audit.Context(audit.Actor("service", "ceiling"), "", "")
log = structlog.get_logger("authsvc.accounts")

UserIds = Sequence[str] | Select[Any]
"""Ids of users, or a query for them. A sequence is for some, a query for any number."""


async def hold_permissions(session: AsyncSession) -> None:
    """Let no other transaction change grants or roles until this one ends.

    Call it before reading who is affected: otherwise a user who gets a role while the role loses a
    grant could keep a JWT that nothing supersedes. And before locking users: who waits for this
    while holding a user's row makes others wait crosswise.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        await session.execute(text("select pg_advisory_xact_lock(hashtext('authsvc:permissions'))"))


async def supersede(
    session: AsyncSession,
    account_id: str,
    user_ids: UserIds,
    now: float,
    *,
    most: int = MOST_ENTRIES,
) -> int:
    """End every JWT of the users; their nkeys stay and may renew.

    Where the account JWT would get too many revocations, one for everybody takes the place of
    all: then each user of the account is superseded, and renews once.

    Rows that the session holds already are not refreshed.

    Args:
        session: Writing; the edge commits and then propagates the account.
        account_id: The account whose JWT carries the revocations.
        user_ids: Whose.
        now: Seconds since the epoch.
        most: Revocations in the account JWT, at most.

    Returns:
        How many live nkeys of these users were cut. Where there are none, nothing has to reach
        nats-server.
    """
    await _mark(session, col(User.id).in_(user_ids), _newest(), int(now))
    live: Any = (
        col(Credential.user_id).in_(user_ids),
        col(Credential.revoked_at).is_(None),
        col(Credential.alive_until) >= int(now),
    )
    count = await session.scalar(select(func.count()).select_from(Credential).where(*live)) or 0
    if not count:
        return 0
    room = await has_room(session, account_id, count, int(now), most=most)
    # The account's row first: who writes its revocations holds it, and none wait crosswise.
    await raise_revision(session, account_id)
    if room:
        await _revoke(session, account_id, live, int(now))
        return count
    moment = await session.scalar(
        select(func.max(col(User.superseded_at))).where(col(User.id).in_(user_ids))
    )
    await supersede_everybody(session, account_id, max(moment or 0, int(now)), int(now))
    return count


async def has_room(
    session: AsyncSession, account_id: str, more: int, now: int, *, most: int = MOST_ENTRIES
) -> bool:
    """Whether the account JWT may get so many entries more.

    Args:
        session: Any.
        account_id: The account.
        more: Entries.
        now: Seconds since the epoch: what has expired by then doesn't count.
        most: Entries in the account JWT, at most.
    """
    return more + await live_revocations(session, account_id, now) <= most


def _newest() -> Any:
    """The newest ``iat`` that a user's JWTs have: it may be past now, on another's clock."""
    return (
        select(func.max(col(Credential.issued_at)))
        .where(col(Credential.user_id) == col(User.id))
        .scalar_subquery()
    )


def _larger(session: AsyncSession, *values: Any) -> Any:
    name = "greatest" if session.get_bind().dialect.name == "postgresql" else "max"
    return getattr(func, name)(*(func.coalesce(value, 0) for value in values))


async def lock_users(session: AsyncSession, who: Any) -> None:
    """Lock users in the desk's order, which holds a user's row while it issues.

    Only a statement that begins after the lock was got sees all that it issued.

    Args:
        session: Writing.
        who: A condition on them.
    """
    ids = select(col(User.id)).where(who).order_by(col(User.id)).with_for_update().subquery()
    await session.execute(select(func.count()).select_from(ids))


async def _mark(session: AsyncSession, who: Any, least: Any, now: int) -> None:
    """Set ``superseded_at``, never back."""
    await lock_users(session, who)
    await session.execute(
        update(User)
        .where(who)
        .values(superseded_at=_larger(session, col(User.superseded_at), least, literal(now)))
        .execution_options(synchronize_session=False)
    )


async def _revoke(session: AsyncSession, account_id: str, live: Any, now: int) -> None:
    """One entry for each live nkey, in one statement."""
    table: Any = Revocation.__table__  # type: ignore[attr-defined]
    postgres = session.get_bind().dialect.name == "postgresql"
    insert = (postgresql if postgres else sqlite).insert(table)
    entries = (
        select(
            # An nkey has one entry at a time, so its credential's id serves for the entry's.
            literal("rev_") + func.substr(col(Credential.id), len("crd_") + 1),
            literal(account_id),
            col(Credential.public_key),
            col(User.superseded_at),
            col(Credential.alive_until),
            literal(now),
        )
        .join(User, col(User.id) == col(Credential.user_id))
        .where(*live)
        .order_by(col(Credential.public_key))
    )
    names = ["id", "account_id", "public_key", "revoked_at", "expires_at", "created_at"]
    statement = insert.from_select(names, entries)
    later = {
        name: _larger(session, table.c[name], statement.excluded[name])
        for name in ("revoked_at", "expires_at")
    }
    await session.execute(
        statement.on_conflict_do_update(index_elements=["account_id", "public_key"], set_=later)
    )


async def supersede_everybody(
    session: AsyncSession, account_id: str, moment: int, now: int
) -> None:
    """One entry for all nkeys takes the place of all; everybody's next JWT is past it.

    So the ceiling of an account JWT is none for revocations: past it everybody renews once.

    Args:
        session: Writing, with ``hold_permissions``; the edge commits.
        account_id: The account.
        moment: JWTs with an ``iat`` up to this second end.
        now: Seconds since the epoch.
    """
    log.warning("the account JWT has many revocations: everybody renews", moment=moment)
    details = {"moment": moment, "reason": "the account JWT had too many revocations"}
    row = audit.event(_SERVICE, "account.supersede", "account", account_id, details, now * 1000)
    await audit.append(session, [row])
    await _mark(session, true(), literal(moment), now)
    ends = await session.scalar(select(func.max(col(Credential.alive_until))))
    # Entries of users who are gone may last longer than any credential that is left.
    last = await session.scalar(
        select(func.max(col(Revocation.expires_at))).where(col(Revocation.account_id) == account_id)
    )
    await session.execute(
        delete(Revocation)
        .where(col(Revocation.account_id) == account_id)
        .where(col(Revocation.revoked_at) <= moment)
    )
    await note_revocation(
        session,
        account_id=account_id,
        public_key="*",
        revoked_at=moment,
        expires_at=max(ends or 0, last or 0),
        now=now,
    )
