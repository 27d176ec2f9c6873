"""Dead letters, for their owner: listed, and put back by one of those who ask for it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer
from sqlmodel import col

from authsvc.errors import Conflict, NotFound
from authsvc.server.mailboxes.change import Change
from authsvc.server.models import App, DeadLetter

__all__ = ["claim_letter", "finish_letter", "forget_letters", "list_letters", "release_letter"]

_CLAIM_SECONDS = 30
"""Whoever put a letter back and never said so has failed by then."""


async def list_letters(
    session: AsyncSession, app: App, *, limit: int, after: str | None = None
) -> Sequence[DeadLetter]:
    """Dead letters of an app, the newest first, without their payloads.

    Args:
        session: Any.
        app: Whose.
        limit: How many, at most.
        after: The id of the last one that was seen.
    """
    statement = (
        select(DeadLetter)
        .where(col(DeadLetter.user_id) == app.user_id)
        .where(col(DeadLetter.app) == app.name)
        .order_by(col(DeadLetter.id).desc())
        .limit(limit)
        .options(defer(DeadLetter.payload))  # type: ignore[arg-type]
    )
    if after is not None:
        statement = statement.where(col(DeadLetter.id) < after)
    return (await session.scalars(statement)).all()


async def claim_letter(session: AsyncSession, app: App, letter_id: str, now: float) -> DeadLetter:
    """A dead letter for whoever asks first; the others are refused for a while.

    Args:
        session: Writing; the edge commits before the letter is put back.
        app: Whose.
        letter_id: Which.
        now: Seconds since the epoch.

    Raises:
        Conflict: Somebody else puts it back now, its requester waits no more, or the app takes
            no stored requests.
        NotFound: There is no such letter.
    """
    letter = None
    if letter_id.isprintable():  # PostgreSQL takes no NUL
        letter = await session.scalar(
            select(DeadLetter)
            .where(col(DeadLetter.id) == letter_id)
            .where(col(DeadLetter.user_id) == app.user_id)
            .where(col(DeadLetter.app) == app.name)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    if letter is None:
        raise NotFound("there is no such dead letter")
    if not app.offline:
        raise Conflict("the app takes no stored requests; register it as offline first")
    if letter.deadline and letter.deadline <= now:
        raise Conflict("the request has expired; its requester waits no more")
    if letter.claimed_at > now - _CLAIM_SECONDS:
        raise Conflict("the request is being put back by somebody else")
    letter.claimed_at = int(now)
    return letter


async def finish_letter(session: AsyncSession, letter: DeadLetter, change: Change) -> None:
    """Forget a letter that was put back.

    Args:
        session: Writing; the edge commits.
        letter: Which.
        change: Who put it back.
    """
    await session.execute(delete(DeadLetter).where(col(DeadLetter.id) == letter.id))
    details = {"app": letter.app, "requester": letter.requester, "request_id": letter.request_id}
    await change.record(session, "dead_letter.requeue", "dead_letter", letter.id, details)


async def release_letter(session: AsyncSession, letter_id: str) -> None:
    """Let a letter that could not be put back be claimed again.

    Args:
        session: Writing; the edge commits.
        letter_id: Which.
    """
    await session.execute(
        update(DeadLetter).where(col(DeadLetter.id) == letter_id).values(claimed_at=0)
    )


async def forget_letters(session: AsyncSession, now: float) -> None:
    """Remove letters that are too old.

    Args:
        session: Writing; the edge commits.
        now: Seconds since the epoch.
    """
    await session.execute(delete(DeadLetter).where(col(DeadLetter.expires_at) <= int(now)))
