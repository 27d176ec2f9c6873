"""How machines and terminals join: enrolment keys, and requests of devices to be let in."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import String
from sqlmodel import Field

from authsvc.server.models.base import Document, Row, Seconds

__all__ = ["DeviceRequest", "Enrolment", "EnrolmentKey"]


class EnrolmentKey(Row, table=True):
    """A key by which machines log in the first time; only its digest is kept."""

    __tablename__ = "enrolment_keys"

    id: str = Field(primary_key=True)
    name: str
    prefix: str
    """The first characters, to tell keys apart."""
    digest: str = Field(unique=True, repr=False)
    username: str | None = None
    """The one user it is for, canonical; None where there is a pattern."""
    pattern: str | None = None
    """Which users it is for; ``*`` stands for any text without ``@``."""
    existing: bool = False
    """Whether it is also for users who did not come by it."""
    tags: list[str] = Field(default_factory=list, sa_type=Document)
    max_uses: int | None = None
    """How many nkeys may enrol; None: any number."""
    uses: int = 0
    expires_at: int | None = Field(default=None, sa_type=Seconds)
    """Up to then new nkeys may enrol."""
    last_used_at: int | None = Field(default=None, sa_type=Seconds)
    revoked_at: int | None = Field(default=None, sa_type=Seconds)
    created_by: str
    created_at: int = Field(sa_type=Seconds)


class Enrolment(Row, table=True):
    """An nkey that enrolled: it logs in again with the same key, which counts no further use."""

    __tablename__ = "enrolments"

    key_id: str = Field(primary_key=True, foreign_key="enrolment_keys.id", ondelete="CASCADE")
    public_key: str = Field(primary_key=True)
    user_id: str
    enrolled_at: int = Field(sa_type=Seconds)


class DeviceRequest(Row, table=True):
    """A terminal that asks to be let in as somebody (RFC 8628); codes are kept as digests."""

    __tablename__ = "device_requests"

    id: str = Field(primary_key=True)
    device_digest: str = Field(unique=True, repr=False)
    user_digest: str = Field(unique=True, repr=False)
    public_key: str
    """The terminal's nkey: nobody else can do anything with the codes."""
    client: str
    """What the terminal calls itself."""
    address: str
    """Where it asked from."""
    state: Literal["pending", "approved", "denied", "taken"] = Field(
        default="pending", sa_type=String
    )
    username: str | None = None
    """Whom it is let in as."""
    browser_digest: str | None = Field(default=None, repr=False)
    """Of the secret of the browser in which somebody is deciding."""
    signed_in: str | None = None
    """Who is signed in there."""
    token_digest: str | None = Field(default=None, unique=True, repr=False)
    """Of the token that the terminal gets when it is let in."""
    interval: int
    """Seconds that it has to wait between two polls."""
    polled_at: int = Field(default=0, sa_type=Seconds)
    """Milliseconds since the epoch."""
    created_at: int = Field(sa_type=Seconds, index=True)
    expires_at: int = Field(sa_type=Seconds, index=True)
