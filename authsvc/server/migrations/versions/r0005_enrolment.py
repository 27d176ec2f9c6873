"""Enrolment keys, and who enrolled by them.

Revision 0005, after 0004. There is no way back but a backup.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "enrolment_keys",
        *_columns(sa.String(), "id name prefix digest"),
        *_columns(sa.String(), "username pattern", nullable=True),
        *_columns(sa.Boolean(), "existing"),
        *_columns(_JSON, "tags"),
        *_columns(sa.Integer(), "max_uses", nullable=True),
        *_columns(sa.Integer(), "uses"),
        *_columns(sa.BigInteger(), "expires_at last_used_at revoked_at", nullable=True),
        *_columns(sa.String(), "created_by"),
        *_columns(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "enrolments",
        *_columns(sa.String(), "key_id public_key user_id"),
        *_columns(sa.BigInteger(), "enrolled_at"),
        sa.PrimaryKeyConstraint("key_id", "public_key"),
        sa.ForeignKeyConstraint(["key_id"], ["enrolment_keys.id"], ondelete="CASCADE"),
    )


def _columns(kind: Any, words: str, *, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(word, kind, nullable=nullable) for word in words.split()]
