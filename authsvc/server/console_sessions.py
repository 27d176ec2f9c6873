"""Signing in to the console: links that work once, and sessions of browsers.

Both stand for an API key and have its rights, no more and no longer: a key that is revoked ends
what it signed in. Both are 256 random bits of which only the SHA-256 is kept, as rows, so that any
replica knows them and sign-out counts at all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, NamedTuple

from sqlalchemy import CursorResult, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import InvalidToken
from authsvc.server import audit
from authsvc.server.api_keys import api_key_state, digest
from authsvc.server.models import ApiKey, ConsoleLink, ConsoleSession, new_id

__all__ = [
    "LINK_SECONDS",
    "SESSION_SECONDS",
    "SignedIn",
    "create_link",
    "csrf_token",
    "find_key",
    "find_session",
    "forget_console",
    "is_link",
    "note_seen",
    "sign_in",
    "sign_out",
    "was_seen_lately",
]

LINK_SECONDS = 30 * 60
SESSION_SECONDS = 12 * 3600
_IDLE_SECONDS = 2 * 3600
_SEEN_SECONDS = 60
"""``seen_at`` is written at most this often."""
_LINK = "once_"


class SignedIn(NamedTuple):
    """A session that holds, and the API key whose rights it has."""

    session: ConsoleSession
    key: ApiKey


def csrf_token(secret: str) -> str:
    """What a form of the session must bring: derived, so that it need not be kept.

    Args:
        secret: The session's, from its cookie.
    """
    return hmac.new(secret.encode(), b"authsvc console form", hashlib.sha256).hexdigest()


def is_link(secret: str) -> bool:
    """Whether it looks like a link's secret, and not like an API key."""
    return secret.startswith(_LINK)


async def create_link(
    session: AsyncSession, api_key_id: str, *, context: audit.Context, now: float
) -> tuple[str, int]:
    """A secret that signs in once: the text, which exists only here, and when it ends.

    Args:
        session: Writing; the edge commits.
        api_key_id: Whose rights it brings.
        context: Who makes it, for the audit.
        now: Seconds since the epoch.
    """
    text = _LINK + secrets.token_urlsafe(32)
    expires_at = int(now) + LINK_SECONDS
    session.add(ConsoleLink(digest=digest(text), api_key_id=api_key_id, expires_at=expires_at))
    details = {"expires_at": expires_at}
    await _note(session, context, "console.link", api_key_id, details, now)
    return text, expires_at


async def sign_in(
    session: AsyncSession, secret: str, *, request_id: str, address: str, now: float
) -> tuple[str, SignedIn]:
    """Begin a session by a link's secret or an API key: the cookie's text, and the session.

    Args:
        session: Writing; the edge commits. A link is spent in the same transaction.
        secret: What was presented.
        request_id: For the audit.
        address: Likewise.
        now: Seconds since the epoch.

    Raises:
        InvalidToken: The secret signs nobody in.
    """
    by_link = is_link(secret)
    key = await (_spend(session, secret, int(now)) if by_link else find_key(session, secret))
    if api_key_state(key, now) != "active":
        raise InvalidToken("API key: revoked or expired")
    text = secrets.token_urlsafe(32)
    row = ConsoleSession(
        digest=digest(text),
        id=new_id("ses"),
        api_key_id=key.id,
        created_at=int(now),
        seen_at=int(now),
        expires_at=int(now) + SESSION_SECONDS,
    )
    session.add(row)
    context = audit.Context(audit.Actor("api_key", key.id), request_id, address)
    details = {"by": "link" if by_link else "api_key"}
    await _note(session, context, "console.sign_in", row.id, details, now)
    return text, SignedIn(row, key)


async def _spend(session: AsyncSession, secret: str, now: int) -> ApiKey:
    # One statement spends it: of two that come at once, on any replica, one finds it unspent.
    spent: CursorResult[Any] = await session.execute(  # type: ignore[assignment]
        update(ConsoleLink)
        .where(
            col(ConsoleLink.digest) == digest(secret),
            col(ConsoleLink.used_at).is_(None),
            col(ConsoleLink.expires_at) > now,
        )
        .values(used_at=now)
    )
    if spent.rowcount != 1:
        raise InvalidToken("console link: used, over, or not known")
    found = await session.scalar(
        select(ApiKey).join(ConsoleLink).where(col(ConsoleLink.digest) == digest(secret))
    )
    if found is None:
        raise InvalidToken("console link: its API key is gone")
    return found


async def find_key(session: AsyncSession, text: str) -> ApiKey:
    """The API key with the text, alive or not.

    Args:
        session: Any.
        text: As it was handed out.

    Raises:
        InvalidToken: There is none.
    """
    found = await session.scalar(select(ApiKey).where(col(ApiKey.digest) == digest(text)))
    if found is None:
        raise InvalidToken("API key: not known")
    return found


async def find_session(session: AsyncSession, secret: str, now: float) -> SignedIn | None:
    """The session of a cookie; None if it is over, or its API key is.

    Args:
        session: Any.
        secret: The cookie's text.
        now: Seconds since the epoch.
    """
    row = (
        await session.execute(
            select(ConsoleSession, ApiKey)
            .join(ApiKey)
            .where(col(ConsoleSession.digest) == digest(secret))
        )
    ).one_or_none()
    if row is None:
        return None
    found = SignedIn(*row)
    over = now >= found.session.expires_at or now - found.session.seen_at >= _IDLE_SECONDS
    return None if over or api_key_state(found.key, now) != "active" else found


async def note_seen(session: AsyncSession, found: ConsoleSession, now: float) -> None:
    """Write down that somebody still looks.

    Args:
        session: Writing; the edge commits.
        found: The session.
        now: Seconds since the epoch.
    """
    await session.execute(
        update(ConsoleSession)
        .where(col(ConsoleSession.digest) == found.digest)
        .values(seen_at=int(now))
    )


def was_seen_lately(found: ConsoleSession, now: float) -> bool:
    """Whether ``seen_at`` need not be written yet."""
    return now - found.seen_at < _SEEN_SECONDS


async def sign_out(
    session: AsyncSession, found: SignedIn, *, request_id: str, address: str, now: float
) -> None:
    """End a session, at every replica.

    Args:
        session: Writing; the edge commits.
        found: The session.
        request_id: For the audit.
        address: Likewise.
        now: Seconds since the epoch.
    """
    digests = col(ConsoleSession.digest)
    await session.execute(delete(ConsoleSession).where(digests == found.session.digest))
    context = audit.Context(audit.Actor("api_key", found.key.id), request_id, address)
    await _note(session, context, "console.sign_out", found.session.id, {}, now)


async def forget_console(session: AsyncSession, now: float) -> None:
    """Remove links and sessions that are over.

    Args:
        session: Writing; the edge commits.
        now: Seconds since the epoch.
    """
    for row in (ConsoleLink, ConsoleSession):
        await session.execute(delete(row).where(col(row.expires_at) <= int(now)))


async def _note(  # noqa: PLR0917 - they read as one sentence
    session: AsyncSession,
    context: audit.Context,
    action: str,
    target: str,
    details: dict[str, Any],
    now: float,
) -> None:
    kind = "api_key" if action == "console.link" else "console_session"
    event = audit.event(context, action, kind, target, details, int(now * 1000))
    await audit.append(session, [event])
