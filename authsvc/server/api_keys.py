"""API keys for the admin routes: 256 random bits, of which only the SHA-256 is kept.

A random key needs no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import Conflict, NotFound
from authsvc.server import audit
from authsvc.server.models import ApiKey, new_id

__all__ = [
    "SCOPES",
    "api_key_state",
    "create_api_key",
    "digest",
    "list_api_keys",
    "make",
    "revoke_api_key",
]

SCOPES = (
    "users:read",
    "users:write",
    "credentials:issue",
    "credentials:revoke",
    "keys:rotate",
    "nats:push",
    "audit:read",
    "admin",
)
_PREFIX = "authsvc_"
_SHOWN = len(_PREFIX) + 6


def digest(text: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def make(
    name: str, scopes: list[str], now: int, expires_at: int | None = None
) -> tuple[str, ApiKey]:
    """A new key: the text, which exists only here, and its row.

    Args:
        name: What it is for.
        scopes: Some of ``SCOPES``.
        now: Seconds since the epoch.
        expires_at: Seconds since the epoch; never if None.
    """
    text = _PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id("key"),
        name=name,
        prefix=text[:_SHOWN],
        digest=digest(text),
        scopes=scopes,
        expires_at=expires_at,
        created_at=now,
    )
    return text, row


def api_key_state(key: ApiKey, now: float) -> Literal["active", "expired", "revoked"]:
    """What has become of a key by now (seconds since the epoch)."""
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.expires_at is None or now < key.expires_at else "expired"


async def create_api_key(
    session: AsyncSession,
    name: str,
    scopes: list[str],
    *,
    expires_at: int | None,
    context: audit.Context,
    now: float,
) -> tuple[str, ApiKey]:
    """A new key, noted in the audit: its text and its row.

    Args:
        session: Writing; the edge commits.
        name: What it is for.
        scopes: Some of ``SCOPES``.
        expires_at: Seconds since the epoch; never if None.
        context: Who makes it, for the audit.
        now: Seconds since the epoch.
    """
    text, key = make(name, scopes, int(now), expires_at)
    session.add(key)
    details = {"name": name, "scopes": scopes, "expires_at": expires_at}
    await _note(session, context, "api_key.create", key, details, now)
    return text, key


async def list_api_keys(
    session: AsyncSession, *, limit: int, after: str | None = None
) -> list[ApiKey]:
    """All keys, newest first.

    Args:
        session: Any.
        limit: How many at most.
        after: The id of the last one that was seen; ids sort by their time of creation.
    """
    statement: Any = select(ApiKey)
    if after is not None:
        statement = statement.where(col(ApiKey.id) < after)
    return list(await session.scalars(statement.order_by(col(ApiKey.id).desc()).limit(limit)))


async def revoke_api_key(
    session: AsyncSession, key_id: str, *, context: audit.Context, now: float
) -> ApiKey:
    """End a key; revoking twice changes nothing.

    Args:
        session: Writing; the edge commits.
        key_id: Which.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        NotFound: There is no such key.
        Conflict: Nobody could administer any more.
    """
    # All that live are locked: two that revoke one another's key must not both see the other's.
    statement = select(ApiKey).where(col(ApiKey.revoked_at).is_(None))
    unrevoked = list(await session.scalars(statement.order_by(col(ApiKey.id)).with_for_update()))
    key = next((each for each in unrevoked if each.id == key_id), None)
    if key is None:
        found = await session.get(ApiKey, key_id) if key_id.isprintable() else None
        if found is None:
            raise NotFound("there is no such API key")
        return found
    rulers = {each.id for each in unrevoked if _rules(each, now)}
    if rulers == {key.id}:
        raise Conflict(
            "this is the last API key with the scope admin that is alive; make another one first"
        )
    key.revoked_at = int(now)
    await _note(session, context, "api_key.revoke", key, {"name": key.name}, now)
    return key


def _rules(key: ApiKey, now: float) -> bool:
    # One that stands for a person who signed in to the console has no text to administer by.
    return ":" not in key.digest and "admin" in key.scopes and api_key_state(key, now) == "active"


async def _note(  # noqa: PLR0917 - they read as one sentence
    session: AsyncSession,
    context: audit.Context,
    action: str,
    key: ApiKey,
    details: dict[str, Any],
    now: float,
) -> None:
    event = audit.event(context, action, "api_key", key.id, details, int(now * 1000))
    await audit.append(session, [event])
