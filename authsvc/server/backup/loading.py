"""From a backup's rows to a database: the schema of then, its rows, and the schema of today."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, exc, insert, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from authsvc.errors import InvalidBackup
from authsvc.server import migrations
from authsvc.server.backup.manifest import Head
from authsvc.server.backup.reading import Reader
from authsvc.server.backup.tables import EXPORTED, LEFT_OUT, Shape, clause, find_shapes
from authsvc.server.models import Row

__all__ = ["empty", "has_rows", "load"]

_PAGE = 500
_PAGE_BYTES = 4 * 1024 * 1024


async def load(connection: AsyncConnection, reader: Reader) -> None:
    """Make the schema, load every row, and upgrade to the newest schema.

    Args:
        connection: In a transaction of a database without tables of ours; the edge commits.
        reader: Read to its end by this.

    Raises:
        InvalidBackup: The backup does not hold, or this database can't take it.
    """
    shapes = await connection.run_sync(_make_schema, reader.head)
    page: list[dict[str, Any]] = []
    name, size = "", 0
    for table, row in reader.rows():
        if table != name or len(page) >= _PAGE or size > _PAGE_BYTES:
            await connection.run_sync(_insert, reader.head, name, page)
            name, page, size = table, [], 0
        page.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, bytes | str))
    await connection.run_sync(_insert, reader.head, name, page)
    reader.finish()
    await connection.run_sync(_number_on, shapes)
    await connection.run_sync(migrations.upgrade)


def _make_schema(connection: Connection, head: Head) -> dict[str, Shape]:
    if not migrations.knows(head.revision):
        raise InvalidBackup(
            f"the backup is of a newer authsvc ({head.authsvc}, its schema is at "
            f"{head.revision}): restore it with that version"
        )
    migrations.upgrade(connection, head.revision)
    shapes = find_shapes(connection)
    told = {name: table.columns for name, table in head.tables.items()}
    if {name: shape.kinds for name, shape in shapes.items()} != told:
        raise InvalidBackup(
            f"the backup's tables are not those of the schema {head.revision} that it names"
        )
    return shapes


def _insert(connection: Connection, head: Head, name: str, page: list[dict[str, Any]]) -> None:
    if not page:
        return
    try:
        connection.execute(insert(clause(name, head.tables[name].columns)), page)
    except (exc.IntegrityError, exc.DataError) as error:
        kind = type(error).__name__
        raise InvalidBackup(
            f"a row of {name} can't be in this database ({kind}): it contradicts another row, or "
            "PostgreSQL does not take a value that SQLite took"
        ) from None


def _number_on(connection: Connection, shapes: dict[str, Shape]) -> None:
    """Let rows that are numbered by PostgreSQL go on after the last one that was loaded."""
    if connection.dialect.name != "postgresql":
        return
    quote = connection.dialect.identifier_preparer.quote
    for name, place in [(name, it) for name, shape in shapes.items() for it in shape.key]:
        sequence = connection.scalar(
            text("SELECT pg_get_serial_sequence(:name, :place)"),
            {"name": quote(name), "place": place},
        )
        if sequence is None:
            continue
        newest = f"SELECT max({quote(place)}) FROM {quote(name)}"  # noqa: S608
        if (last := connection.scalar(text(newest))) is not None:
            connection.execute(text("SELECT setval(:it, :last)"), {"it": sequence, "last": last})


def _ours(connection: Connection) -> list[str]:
    known = EXPORTED | LEFT_OUT.keys() | set(Row.metadata.tables) | {"alembic_version"}
    return sorted(known & set(inspect(connection).get_table_names()))


def has_rows(connection: Connection) -> bool:
    """Whether a database holds anything of a service's; a schema alone is nothing."""
    quote = connection.dialect.identifier_preparer.quote
    return any(
        connection.scalar(text(f"SELECT 1 FROM {quote(name)} LIMIT 1"))  # noqa: S608
        for name in _ours(connection)
        if name != "alembic_version"
    )


def empty(connection: Connection) -> None:
    """Remove our tables, and nothing of other programs'."""
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(quote(name) for name in _ours(connection))
    if names:
        connection.execute(text(f"DROP TABLE {names} CASCADE"))
