"""A change to what belongs to a user's mailbox: the user locked, the ceilings held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import Conflict, NotFound
from authsvc.server import audit
from authsvc.server.models import App, Mailbox, User

__all__ = ["DEFAULT_MAX_AGE", "DEFAULT_MAX_PENDING", "Change", "lock_mailbox", "note_change"]

DEFAULT_MAX_AGE = 604_800
DEFAULT_MAX_PENDING = 1000
_LOCK = 0x6D61696C  # any number that nobody else takes here


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change by the user whose mailbox it is.

    Args:
        user_id: The user.
        max_apps: Apps that one user may have.
        max_mailboxes: Mailboxes that there may be of all users.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
    """

    user_id: str
    max_apps: int
    max_mailboxes: int
    context: audit.Context
    now: float

    async def record(
        self, session: AsyncSession, action: str, kind: str, target: str, details: Mapping[str, Any]
    ) -> None:
        """Append the change's audit event."""
        at = int(self.now * 1000)
        row = audit.event(self.context, action, kind, target, details, at)
        await audit.append(session, [row])


async def lock_mailbox(session: AsyncSession, change: Change) -> Mailbox:
    """The user's mailbox, that nobody else changes now; a new one has the defaults.

    Raises:
        NotFound: The user was deleted.
    """
    user = await session.scalar(
        select(col(User.id)).where(col(User.id) == change.user_id).with_for_update()
    )
    if user is None:
        raise NotFound("there is no such user")
    mailbox = await session.get(Mailbox, user, populate_existing=True)
    if mailbox is None:
        mailbox = Mailbox(
            user_id=user,
            max_age=DEFAULT_MAX_AGE,
            max_pending=DEFAULT_MAX_PENDING,
            created_at=int(change.now),
            revision=0,
        )
        session.add(mailbox)
        await session.flush()
    return mailbox


async def note_change(session: AsyncSession, mailbox: Mailbox, change: Change) -> None:
    """Let nats-server learn of what was changed; the ceiling of all mailboxes holds.

    Args:
        session: Writing; the edge commits.
        mailbox: Locked and changed.
        change: Who changed it.

    Raises:
        Conflict: There may be no further mailbox.
    """
    await session.flush()
    offline = await session.scalar(
        select(func.count())
        .select_from(App)
        .where(col(App.user_id) == mailbox.user_id)
        .where(col(App.offline))
    )
    streams = int(bool(offline)) + int(mailbox.responses)
    if streams and not mailbox.streams:
        await _ensure_room(session, change.max_mailboxes)
    mailbox.streams = streams
    mailbox.revision += 1
    await session.flush()


async def _ensure_room(session: AsyncSession, most: int) -> None:
    if session.get_bind().dialect.name == "postgresql":
        # Two that count side by side would both find room for the last one.
        await session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    count = await session.scalar(
        select(func.count()).select_from(Mailbox).where(col(Mailbox.streams) > 0)
    )
    if (count or 0) >= most:
        raise Conflict(
            f"there are {most} mailboxes, and no more may be made; ask an administrator to raise "
            "AUTHSVC_MAILBOX_MAX_COUNT"
        )
