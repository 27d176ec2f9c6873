"""Statements that many rows are given to at once, compiled once for each kind of database.

SQLAlchemy looks at every row's every value anew; where a row costs as little as a signature, that
is a good part of it.

    write = Prepared(table.insert().values({name: bindparam(name) for name in names}))
    write.run(connection, [{...}, {...}])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import UpdateBase

__all__ = ["Prepared"]


class _Text(NamedTuple):
    """A statement as a driver takes it."""

    sql: str
    values: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    processors: tuple[tuple[int, Callable[[Any], Any]], ...]
    """By place, what makes a value one of the driver's."""


class Prepared:
    """An INSERT or UPDATE whose every value is a ``bindparam``.

    Args:
        statement: The statement.
    """

    def __init__(self, statement: UpdateBase) -> None:
        self._statement = statement
        self._texts: dict[str, _Text] = {}

    def run(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Do it for each row, in their order.

        Args:
            connection: In a transaction.
            rows: Values by parameter, as the columns' Python types; none may be missing.

        Raises:
            KeyError: A row lacks a value.
            DBAPIError: As ``Connection.execute`` does.
        """
        text = self._texts.get(connection.dialect.name)
        if text is None:
            text = self._texts[connection.dialect.name] = self._compile(connection.dialect)
        values = [text.values(row) for row in rows]
        if text.processors:
            values = [_processed(row, text.processors) for row in values]
        connection.exec_driver_sql(text.sql, values)

    def _compile(self, dialect: Dialect) -> _Text:
        compiled: Any = self._statement.compile(dialect=dialect)
        names: list[str] = compiled.positiontup  # the drivers of both databases go by place
        found = []
        for place, name in enumerate(names):
            processor = compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
            if processor is not None:
                found.append((place, processor))
        # An itemgetter of one name gives no tuple.
        values = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        return _Text(str(compiled), values, tuple(found))


def _processed(
    row: tuple[Any, ...], processors: tuple[tuple[int, Callable[[Any], Any]], ...]
) -> tuple[Any, ...]:
    values = list(row)
    for place, processor in processors:
        values[place] = processor(values[place])
    return tuple(values)
