"""Run by Alembic; the connection comes from the code that asks for the migration."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from authsvc.server.models import Row


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Row.metadata,
        # SQLite can't alter most things: there a table is copied.
        render_as_batch=True,
        # SQLite's DDL is transactional too: database.py begins transactions itself.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_run(context.config.attributes["connection"])
