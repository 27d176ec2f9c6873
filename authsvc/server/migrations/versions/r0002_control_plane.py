"""What administrators need: versions of users, generations of keys, seals, repeatable POSTs.

Revision 0002, after 0001. There is no way back but a backup.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    # With defaults of the database's own, because SQLite would have to copy the table without,
    # and dropping the old one would take along what belongs to its rows.
    _add("users", "version", sa.Integer(), "1")
    _add("accounts", "adopted_jwt", sa.String(), "''")
    _add("signing_keys", "slot", sa.String(), "''")
    # Nothing before this revision rotated keys: each is the first of its line.
    _add("signing_keys", "generation", sa.Integer(), "1")
    op.execute(f"UPDATE signing_keys SET slot = {_SLOT}")  # noqa: S608 - a constant of this file
    op.create_index(
        "uq_signing_keys_slot_generation", "signing_keys", ["slot", "generation"], unique=True
    )
    _add("signing_keys", "automatic", sa.Boolean(), "false")
    op.add_column("signing_keys", sa.Column("exported_at", sa.BigInteger(), nullable=True))
    _add("credentials", "signer", sa.String(), "''")
    op.execute(f"UPDATE credentials SET signer = {_SIGNER}")  # noqa: S608 - as above
    op.add_column("audit_events", sa.Column("batch", sa.BigInteger(), nullable=True))
    op.create_index("ix_audit_events_batch", "audit_events", ["batch"])
    _people()
    op.create_table(
        "audit_seals",
        *_needed(sa.BigInteger(), "batch first_seq last_seq"),
        *_needed(sa.Integer(), "count"),
        *_needed(sa.String(), "previous digest root"),
        *_needed(sa.BigInteger(), "newest_at sealed_at"),
        *_needed(sa.LargeBinary(), "leaves"),
        sa.Column("dropped_at", sa.BigInteger(), nullable=True),
        sa.Column("drop_mac", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("batch"),
    )
    op.create_table(
        "idempotency_keys",
        *_needed(sa.LargeBinary(), "digest request"),
        *_needed(sa.Integer(), "status"),
        *_needed(sa.LargeBinary(), "body"),
        *_needed(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"])
    op.create_table(
        "secrets",
        *_needed(sa.String(), "name"),
        *_needed(sa.LargeBinary(), "sealed"),
        *_needed(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "roles",
        *_needed(sa.String(), "name account_id public_key"),
        *_needed(sa.Integer(), "max_subscriptions max_payload"),
        *_needed(sa.String(), "created_by"),
        *_needed(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("public_key"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], ondelete="CASCADE"),
    )


# There was one account for people, with one signing key.
_SIGNER = (
    "coalesce((SELECT k.public_key FROM signing_keys k JOIN accounts a ON a.id = k.account_id "
    "WHERE a.kind = 'people' AND k.purpose = 'signing'), '')"
)


def _people() -> None:
    """What lists of many users need, and the keys of those who were deleted."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute('ALTER TABLE users ALTER COLUMN username TYPE varchar COLLATE "C"')
    for name, condition in (
        ("ix_users_disabled", "disabled_at IS NOT NULL"),
        ("ix_users_with_roles", "roles <> '[]'"),
    ):
        where = sa.text(condition)
        op.create_index(name, "users", ["username"], sqlite_where=where, postgresql_where=where)
    where = sa.text("method = 'callout'")
    op.create_index(
        "ix_credentials_callout",
        "credentials",
        ["alive_until"],
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_table(
        "dead_keys",
        *_needed(sa.String(), "public_key"),
        *_needed(sa.BigInteger(), "died_at"),
        sa.PrimaryKeyConstraint("public_key"),
    )


_SLOT = "coalesce(account_id, 'operator') || ':' || owner || ':' || purpose"


def _needed(kind: Any, words: str) -> list[sa.Column[Any]]:
    return [sa.Column(word, kind, nullable=False) for word in words.split()]


def _add(table: str, name: str, kind: Any, default: str) -> None:
    op.add_column(table, sa.Column(name, kind, nullable=False, server_default=sa.text(default)))
