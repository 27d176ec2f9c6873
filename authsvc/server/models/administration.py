"""API keys, the audit, and requests that may be repeated."""

from __future__ import annotations

from typing import Any

from sqlalchemy import LargeBinary
from sqlmodel import Field

from authsvc.server.models.base import Document, Row, Seconds, Sequence

__all__ = ["ApiKey", "AuditEvent", "AuditSeal", "IdempotencyKey"]


class ApiKey(Row, table=True):
    """A key for the admin routes; only its digest is kept."""

    __tablename__ = "api_keys"

    id: str = Field(primary_key=True)
    name: str
    prefix: str
    """The first characters, to tell keys apart."""
    digest: str = Field(unique=True, repr=False)
    scopes: list[str] = Field(default_factory=list, sa_type=Document)
    expires_at: int | None = Field(default=None, sa_type=Seconds)
    last_used_at: int | None = Field(default=None, sa_type=Seconds)
    revoked_at: int | None = Field(default=None, sa_type=Seconds)
    created_at: int = Field(sa_type=Seconds)


class AuditEvent(Row, table=True):
    """What was done, by whom, to what; written in the transaction of the deed."""

    __tablename__ = "audit_events"

    seq: int | None = Field(default=None, primary_key=True, sa_type=Sequence)
    """In the order of writing; transactions side by side may commit in another one."""
    id: str = Field(unique=True)
    at: int = Field(sa_type=Seconds, index=True)
    """Milliseconds since the epoch."""
    actor_kind: str
    actor_id: str
    action: str
    target_kind: str
    target_id: str = Field(index=True)
    request_id: str
    address: str
    details: dict[str, Any] = Field(default_factory=dict, sa_type=Document)
    batch: int | None = Field(default=None, sa_type=Seconds, index=True)
    """The seal that covers it; None until it is sealed."""


class AuditSeal(Row, table=True):
    """One link of the audit's chain: what a batch of events was when it was sealed."""

    __tablename__ = "audit_seals"

    batch: int = Field(primary_key=True, sa_type=Seconds)
    """1, 2, 3 and so on."""
    first_seq: int = Field(sa_type=Seconds)
    last_seq: int = Field(sa_type=Seconds)
    count: int
    """How many events it covers."""
    previous: str
    """The digest of the seal before."""
    digest: str
    """HMAC-SHA-256 over the previous digest and the events, in hex."""
    newest_at: int = Field(sa_type=Seconds)
    """``at`` of the newest event, in milliseconds since the epoch."""
    sealed_at: int = Field(sa_type=Seconds)
    dropped_at: int | None = Field(default=None, sa_type=Seconds)
    """When retention removed its events; the seal stays."""


class IdempotencyKey(Row, table=True):
    """A POST that may be sent again: what was answered to it."""

    __tablename__ = "idempotency_keys"

    digest: bytes = Field(primary_key=True, sa_type=LargeBinary)
    """Of who asks, the route and the key."""
    request: bytes = Field(sa_type=LargeBinary)
    """The digest of the body: another one under the same key is refused."""
    status: int
    """Of the answer."""
    body: bytes = Field(sa_type=LargeBinary, repr=False)
    """The answer, without one-time secrets."""
    created_at: int = Field(sa_type=Seconds, index=True)
