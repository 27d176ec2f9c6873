"""Marks of used proofs in the order of their time.

Revision 0003, after 0002. There is no way back but a backup.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "used_proofs",
        sa.Column("mark", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("mark"),
        sqlite_with_rowid=False,
    )
    # A proof that was used a moment before the upgrade stays used.
    connection = op.get_bind()
    found = connection.execute(sa.text("SELECT issued_at, digest FROM proof_uses"))
    rows = [{"mark": at.to_bytes(8) + bytes(digest[:16])} for at, digest in found]
    if rows:
        connection.execute(sa.text("INSERT INTO used_proofs (mark) VALUES (:mark)"), rows)
    op.drop_table("proof_uses")
