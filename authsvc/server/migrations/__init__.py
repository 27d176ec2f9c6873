"""The schema's history, by Alembic; the package carries it, so an installed wheel can migrate.

``authsvc.server.database.migrate`` brings a database to the newest revision. To write a new one
after changing the models::

    python -m authsvc.server.migrations "what changes"
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from authsvc.errors import StartRefused

__all__ = ["check", "config", "upgrade"]

# Any number does, as long as nothing else in the same database takes it: "authsvc" in ASCII.
_ADVISORY_LOCK = 0x61757468737663


def config(connection: Connection) -> Config:
    """Alembic's configuration for one connection; there is no alembic.ini."""
    made = Config()
    made.set_main_option("path_separator", "os")
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    made.attributes["connection"] = connection
    return made


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to the newest revision; several replicas may try at once.

    Args:
        connection: Inside a transaction, which the caller commits. On SQLite it must hold the
            write lock already (BEGIN IMMEDIATE).
        revision: Another one to stop at.

    Raises:
        StartRefused: The schema is newer than this program.
    """
    if connection.dialect.name == "postgresql":
        # Held until the transaction ends. Without it two replicas would both create the tables.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    if not _is_newest(connection):
        command.upgrade(config(connection), revision)


def check(connection: Connection) -> None:
    """Whether the schema is at the newest revision.

    Raises:
        StartRefused: It is newer or older.
    """
    if not _is_newest(connection):
        raise StartRefused(
            "the database's schema is older than this authsvc, or there is none yet: "
            "back it up, then run `authsvc db migrate`"
        )


def _is_newest(connection: Connection) -> bool:
    script = ScriptDirectory.from_config(config(connection))
    present = set(MigrationContext.configure(connection).get_current_heads())
    unknown = present - {step.revision for step in script.walk_revisions()}
    if unknown:
        raise StartRefused(
            f"the database was written by a newer authsvc (its schema is at {min(unknown)}): "
            "start that version, or restore the backup made before the upgrade"
        )
    return present == set(script.get_heads())
