"""Mailboxes of users, and their dead letters.

Revision 0004, after 0003. There is no way back but a backup.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "mailboxes",
        *_needed(sa.String(), "user_id"),
        *_needed(sa.Boolean(), "responses"),
        *_needed(sa.BigInteger(), "max_age"),
        *_needed(sa.Integer(), "max_pending streams revision applied"),
        *_needed(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("user_id"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_mailboxes_streams", "mailboxes", ["streams"])
    op.create_table(
        "dead_letters",
        *_needed(sa.String(), "id user_id mark app requester subject request_id method target"),
        *_needed(sa.Integer(), "deliveries"),
        *_needed(sa.BigInteger(), "submitted_at deadline died_at expires_at"),
        *_needed(sa.Integer(), "size"),
        *_needed(sa.LargeBinary(), "payload"),
        *_needed(sa.BigInteger(), "claimed_at"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("user_id", "mark"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_dead_letters_expires_at", "dead_letters", ["expires_at"])
    # No route made such an app before; whoever wrote one by hand gets the streams for it.
    op.execute(
        "INSERT INTO mailboxes (user_id, responses, max_age, max_pending, streams, revision, "
        "applied, created_at) SELECT user_id, false, 604800, 1000, 1, 1, 0, min(created_at) "
        "FROM apps WHERE offline GROUP BY user_id"
    )


def _needed(kind: Any, words: str) -> list[sa.Column[Any]]:
    return [sa.Column(word, kind, nullable=False) for word in words.split()]
