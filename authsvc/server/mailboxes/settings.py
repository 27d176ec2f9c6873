"""How large a user's mailbox is, and whether it keeps responses."""

from __future__ import annotations

from typing import TypedDict

from sqlalchemy.ext.asyncio import AsyncSession

from authsvc.server.mailboxes.change import (
    DEFAULT_MAX_AGE,
    DEFAULT_MAX_PENDING,
    Change,
    lock_mailbox,
    note_change,
)
from authsvc.server.models import Mailbox

__all__ = ["MailboxChanges", "put_mailbox", "read_mailbox"]


class MailboxChanges(TypedDict, total=False):
    """What is to be another; a member that is absent stays."""

    responses: bool
    max_age: int
    max_pending: int


async def read_mailbox(session: AsyncSession, user_id: str) -> Mailbox:
    """A user's mailbox; one that was never changed has the defaults and no row.

    Args:
        session: Any.
        user_id: Whose.
    """
    found = await session.get(Mailbox, user_id)
    return found or Mailbox(
        user_id=user_id, max_age=DEFAULT_MAX_AGE, max_pending=DEFAULT_MAX_PENDING, created_at=0
    )


async def put_mailbox(session: AsyncSession, changes: MailboxChanges, change: Change) -> Mailbox:
    """Change a mailbox.

    Args:
        session: Writing; the edge commits.
        changes: What is to be another.
        change: Who does it.

    Raises:
        Conflict: There may be no further mailbox.
        NotFound: The user was deleted.
    """
    mailbox = await lock_mailbox(session, change)
    after = {name: value for name, value in changes.items() if getattr(mailbox, name) != value}
    if not after:
        return mailbox
    before = {name: getattr(mailbox, name) for name in after}
    for name, value in after.items():
        setattr(mailbox, name, value)
    await note_change(session, mailbox, change)
    details = {"before": before, "after": after}
    await change.record(session, "mailbox.update", "mailbox", mailbox.user_id, details)
    return mailbox
