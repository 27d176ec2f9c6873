"""Who is signed in to the console, and the links that sign in."""

from __future__ import annotations

from sqlmodel import Field

from authsvc.server.models.base import Row, Seconds

__all__ = ["ConsoleLink", "ConsoleSession"]


class ConsoleLink(Row, table=True):
    """A link that signs in once, with the rights of an API key; only its digest is kept."""

    __tablename__ = "console_links"

    digest: str = Field(primary_key=True, repr=False)
    api_key_id: str = Field(foreign_key="api_keys.id", ondelete="CASCADE")
    expires_at: int = Field(sa_type=Seconds, index=True)
    used_at: int | None = Field(default=None, sa_type=Seconds)


class ConsoleSession(Row, table=True):
    """A browser that is signed in, with the rights of an API key; only a digest is kept."""

    __tablename__ = "console_sessions"

    digest: str = Field(primary_key=True, repr=False)
    id: str = Field(unique=True)
    """For the audit."""
    api_key_id: str = Field(foreign_key="api_keys.id", ondelete="CASCADE")
    created_at: int = Field(sa_type=Seconds)
    seen_at: int = Field(sa_type=Seconds)
    """When a page was last asked for, to the minute."""
    expires_at: int = Field(sa_type=Seconds, index=True)
