"""The bounds of what is kept of dead letters."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.models import DeadLetter

__all__ = ["MAX_LETTERS", "make_room"]

MAX_LETTERS = 1000
"""Of one user."""


async def make_room(session: AsyncSession, letter: DeadLetter, max_bytes: int) -> None:
    """Remove a user's oldest letters until another one fits.

    Args:
        session: Writing, with the user's row locked; the edge commits.
        letter: What will be added.
        max_bytes: Of all of the user's letters.
    """
    rows = await session.execute(
        select(col(DeadLetter.id), col(DeadLetter.size))
        .where(col(DeadLetter.user_id) == letter.user_id)
        .order_by(col(DeadLetter.id).desc())
    )
    kept, room, gone = 1, max_bytes - letter.size, []
    for row in rows:
        room -= row.size
        if kept < MAX_LETTERS and room >= 0:
            kept += 1
        else:
            gone.append(row.id)
    if gone:
        await session.execute(delete(DeadLetter).where(col(DeadLetter.id).in_(gone)))
