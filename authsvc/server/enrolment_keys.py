"""Enrolment keys, by which machines log in the first time: make, list, revoke.

What a key lets in is seen to in ``login.enrolment`` and, when it is used, ``sessions.tickets``.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Literal, Self

from sqlalchemy import String, cast, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import jose, subjects
from authsvc.errors import InvalidInput, InvalidName, NotFound
from authsvc.server import audit
from authsvc.server.login import ENROLMENT_PREFIX, enrolment_digest
from authsvc.server.models import EnrolmentKey, new_id

__all__ = [
    "NewEnrolmentKey",
    "create_enrolment_key",
    "enrolment_key_state",
    "list_enrolment_keys",
    "revoke_enrolment_key",
]

_SHOWN = len(ENROLMENT_PREFIX) + 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEnrolmentKey:
    """A key to be made.

    Args:
        name: What it is for.
        username: The one user it is for, canonical; or
        pattern: Those it is for, canonical; ``*`` stands for any text without ``@``.
        existing: Whether it is also for users who did not come by it.
        tags: Words to find it by.
        max_uses: How many nkeys may enrol; any number if None.
        expires_at: Up to when they may, in seconds since the epoch; for ever if None.
    """

    name: str
    username: str | None
    pattern: str | None
    existing: bool
    tags: tuple[str, ...] = ()
    max_uses: int | None = 1
    expires_at: int | None = None

    @classmethod
    def checked(cls, *, username: str | None, pattern: str | None, **values: Any) -> Self:
        """The same with names in their canonical form.

        Raises:
            InvalidInput: Not one of username and pattern, or a pattern without ``*``.
            InvalidName: A name that the contract refuses, or a pattern that fits none.
        """
        if (username is None) == (pattern is None):
            raise InvalidInput("one of username and pattern is needed")
        if username is not None:
            try:
                return cls(username=subjects.username(username), pattern=None, **values)
            except InvalidName as error:
                raise InvalidName(str(error), "body.username") from None
        if pattern is None or "*" not in pattern:
            raise InvalidInput("a pattern needs a *; for one user give username", "body.pattern")
        try:
            return cls(username=None, pattern=subjects.username(pattern), **values)
        except InvalidName as error:
            raise InvalidName(str(error), "body.pattern") from None

    @property
    def reaches_people(self) -> bool:
        """Whether it lets in as somebody who has an e-mail, or as a user who is there already."""
        return self.existing or "@" in (self.username or self.pattern or "")


def enrolment_key_state(
    key: EnrolmentKey, now: float
) -> Literal["active", "used", "expired", "revoked"]:
    """What has become of a key by now (seconds since the epoch), for those who would enrol."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and now >= key.expires_at:
        return "expired"
    return "used" if key.max_uses is not None and key.uses >= key.max_uses else "active"


async def create_enrolment_key(
    session: AsyncSession, new: NewEnrolmentKey, *, context: audit.Context, now: float
) -> tuple[str, EnrolmentKey]:
    """A new key, noted in the audit: its text, which exists only here, and its row.

    Args:
        session: Writing; the edge commits.
        new: What it shall be.
        context: Who makes it, for the audit.
        now: Seconds since the epoch.
    """
    text = ENROLMENT_PREFIX + secrets.token_urlsafe(32)
    key = EnrolmentKey(
        id=new_id("enk"),
        name=new.name,
        prefix=text[:_SHOWN],
        digest=enrolment_digest(text),
        username=new.username,
        pattern=new.pattern,
        existing=new.existing,
        tags=list(new.tags),
        max_uses=new.max_uses,
        expires_at=new.expires_at,
        created_by=context.actor.id,
        created_at=int(now),
    )
    session.add(key)
    details = {
        "name": new.name,
        "username": new.username,
        "pattern": new.pattern,
        "existing": new.existing,
        "tags": list(new.tags),
        "max_uses": new.max_uses,
        "expires_at": new.expires_at,
    }
    await _note(session, context, "enrolment_key.create", key, details, now)
    return text, key


async def list_enrolment_keys(
    session: AsyncSession, *, limit: int, after: str | None = None, tag: str | None = None
) -> list[EnrolmentKey]:
    """Keys, newest first.

    Args:
        session: Any.
        limit: How many at most.
        after: The id of the last one that was seen; ids sort by their time of creation.
        tag: Only those that have it.
    """
    statement: Any = select(EnrolmentKey)
    if after is not None:
        statement = statement.where(col(EnrolmentKey.id) < after)
    if tag is not None:
        # A tag has no character that JSON escapes or LIKE reads.
        quoted = jose.dumps([tag])[1:-1].decode().replace("_", r"\_")
        text = cast(col(EnrolmentKey.tags), String)
        statement = statement.where(text.like(f"%{quoted}%", escape="\\"))
    return list(await session.scalars(statement.order_by(col(EnrolmentKey.id).desc()).limit(limit)))


async def revoke_enrolment_key(
    session: AsyncSession, key_id: str, *, context: audit.Context, now: float
) -> EnrolmentKey:
    """End a key, also for those who enrolled by it; revoking twice changes nothing.

    Args:
        session: Writing; the edge commits.
        key_id: Which.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        NotFound: There is no such key.
    """
    key = None
    if key_id.isprintable():  # PostgreSQL takes no NUL
        key = await session.get(EnrolmentKey, key_id, with_for_update=True)
    if key is None:
        raise NotFound("there is no such enrolment key")
    if key.revoked_at is None:
        key.revoked_at = int(now)
        details = {"name": key.name, "uses": key.uses}
        await _note(session, context, "enrolment_key.revoke", key, details, now)
    return key


async def _note(  # noqa: PLR0917 - they read as one sentence
    session: AsyncSession,
    context: audit.Context,
    action: str,
    key: EnrolmentKey,
    details: dict[str, Any],
    now: float,
) -> None:
    event = audit.event(context, action, "enrolment_key", key.id, details, int(now * 1000))
    await audit.append(session, [event])
