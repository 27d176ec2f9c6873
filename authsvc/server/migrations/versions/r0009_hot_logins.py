"""No index on what a login changes.

PostgreSQL then writes a credential's new row next to the old one, where there is room, and no
index at all. Rows of auth callout are found by when they were made.

Revision 0009, after 0008. There is no way back but a backup.

Source: https://www.postgresql.org/docs/current/storage-hot.html.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_NAME = "ix_credentials_callout"


def upgrade() -> None:
    """Apply."""
    op.drop_index(_NAME, "credentials")
    where = sa.text("method = 'callout'")
    op.create_index(
        _NAME, "credentials", ["created_at"], sqlite_where=where, postgresql_where=where
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE credentials SET (fillfactor = 80)")
