"""How often somebody tried to sign in."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import LargeBinary
from sqlmodel import Field

from authsvc.server.models.base import Row, Seconds

__all__ = ["AttemptCount"]


class AttemptCount(Row, table=True):
    """What all replicas counted in one window, of one address or of one identity there.

    Its key is a digest: addresses and names stand in the audit alone.
    """

    __tablename__ = "attempt_counts"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    mark: bytes = Field(primary_key=True, sa_type=LargeBinary)
    number: int = Field(sa_type=Seconds)
    started_at: int = Field(sa_type=Seconds)
    """When the window was opened by its first attempt."""
    ends_at: int = Field(sa_type=Seconds, index=True)
