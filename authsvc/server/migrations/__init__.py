"""The schema's history, by Alembic; the package carries it, so an installed wheel can migrate.

``authsvc.server.database.migrate`` brings a database to the newest revision. To write a new one
after changing the models::

    python -m authsvc.server.migrations "what changes"

Alembic is imported where it has something to do: a service that finds its schema as it should be
does without its 10 MB and the third of a second that it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, exc, inspect, text

from authsvc.errors import StartRefused
from authsvc.server.models import Row

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["Schema", "check", "config", "differences", "knows", "revisions", "schema", "upgrade"]

# Any number does, as long as nothing else in the same database takes it: "authsvc" in ASCII.
_ADVISORY_LOCK = 0x61757468737663
_FIRST_TABLE = "operators"
_VERSION_TABLE = "alembic_version"
_VERSIONS = Path(__file__).parent / "versions"
_MISFITS = ("already exists", "duplicate column", "no such table", "no such column")
"""How SQLite says that the schema is not what the step before left; PostgreSQL has a class, 42."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database's schema stands.

    Args:
        present: Its revision; None where there is none yet.
        newest: The revision that this program works with.
        pending: Revisions to come, the next one first.
        unknown: Revisions that only a newer program knows.
        torn: Whether there are tables of ours and no revision.
    """

    present: str | None
    newest: str
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    torn: bool = False


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration for one connection; there is no alembic.ini."""
    from alembic.config import Config  # noqa: PLC0415

    made = Config()
    made.set_main_option("path_separator", "os")
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("file_template", "r%%(rev)s_%%(slug)s")
    made.attributes["connection"] = connection
    return made


def revisions() -> tuple[str, ...]:
    """All revisions, the oldest first: each is a file, and one follows the other."""
    return tuple(sorted(path.name[1:5] for path in _VERSIONS.glob("r[0-9]*_*.py")))


def schema(connection: Connection) -> Schema:
    """Where the schema stands; nothing is changed."""
    steps = revisions()
    inspector = inspect(connection)
    present: list[str] = []
    if inspector.has_table(_VERSION_TABLE):
        present = list(connection.scalars(text("SELECT version_num FROM alembic_version")))
    unknown = tuple(sorted(set(present) - set(steps)))
    if unknown:
        return Schema(unknown[0], steps[-1], unknown=unknown)
    known = max(present, key=steps.index, default=None)
    pending = steps if known is None else steps[steps.index(known) + 1 :]
    torn = known is None and inspector.has_table(_FIRST_TABLE)
    return Schema(known, steps[-1], pending, torn=torn)


def knows(revision: str) -> bool:
    """Whether this program can bring a schema of that revision to the newest.

    Args:
        revision: Which.
    """
    return revision in revisions()


def differences(connection: Connection) -> list[str]:
    """Where the tables are not what this program's are, a few words each; nothing is changed."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415

    context = MigrationContext.configure(connection, opts={"compare_type": True})
    found = []
    for item in compare_metadata(context, Row.metadata):
        # A change of a column is a list of one tuple or more; of a table, a tuple.
        deed, *what = item if isinstance(item, tuple) else item[0]
        things = [getattr(it, "name", it) for it in what]
        found.append(f"{deed} {'.'.join(str(it) for it in things if isinstance(it, str))}")
    return sorted(found)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the schema to the newest revision; several replicas may try at once.

    Args:
        connection: Inside a transaction, which the caller commits. On SQLite it must hold the
            write lock already (BEGIN IMMEDIATE).
        revision: Another one to stop at.

    Raises:
        StartRefused: The schema is newer than this program, or is none that a version left.
    """
    if connection.dialect.name == "postgresql":
        # Held until the transaction ends. Without it two replicas would both create the tables.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    found = _usable(connection)
    if not found.pending:
        return
    from alembic import command  # noqa: PLC0415

    try:
        command.upgrade(config(connection), revision)
    except exc.DBAPIError as error:
        if not _misfit(error):
            raise
        line = str(error.orig).partition("\n")[0]
        raise StartRefused(
            f"the database says that its schema is at {found.present or 'nothing'}, and it is not "
            f"what that version left ({line}): a migration or a restore stopped halfway. Nothing "
            "was changed now; restore the last backup into an empty database and start again"
        ) from None


def check(connection: Connection) -> None:
    """Whether the schema is at the newest revision.

    Raises:
        StartRefused: It is newer or older.
    """
    if _usable(connection).pending:
        raise StartRefused(
            "the database's schema is older than this authsvc, or there is none yet: "
            "back it up, then run `authsvc db upgrade`"
        )


def _usable(connection: Connection) -> Schema:
    found = schema(connection)
    if found.unknown:
        raise StartRefused(
            f"the database was written by a newer authsvc (its schema is at {found.unknown[0]}): "
            "start that version, or restore the backup made before the upgrade"
        )
    if found.torn:
        raise StartRefused(
            "the database has tables of authsvc's and does not say of which version: a migration "
            "or a restore stopped halfway. Restore the last backup into an empty database and "
            "start again"
        )
    return found


def _misfit(error: exc.DBAPIError) -> bool:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return state.startswith("42") or any(sign in str(error.orig) for sign in _MISFITS)
