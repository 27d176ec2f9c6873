"""API keys for the admin routes: 256 random bits, of which only the SHA-256 is kept.

A random key needs no slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import secrets

from authsvc.server.models import ApiKey, new_id

__all__ = ["SCOPES", "digest", "make"]

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
