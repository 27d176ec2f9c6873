"""Requests of terminals to be let in.

Revision 0006, after 0005. There is no way back but a backup.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "device_requests",
        *_columns(sa.String(), "id device_digest user_digest public_key client address state"),
        *_columns(sa.String(), "username browser_digest signed_in token_digest", nullable=True),
        *_columns(sa.Integer(), "interval"),
        *_columns(sa.BigInteger(), "polled_at created_at expires_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device_digest"),
        sa.UniqueConstraint("user_digest"),
        sa.UniqueConstraint("token_digest"),
    )
    op.create_index("ix_device_requests_created_at", "device_requests", ["created_at"])
    op.create_index("ix_device_requests_expires_at", "device_requests", ["expires_at"])


def _columns(kind: Any, words: str, *, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(word, kind, nullable=nullable) for word in words.split()]
