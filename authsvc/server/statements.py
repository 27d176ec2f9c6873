"""Statements that write many rows at once, made once for each kind of database.

SQLAlchemy looks at every row's every value anew, and PostgreSQL runs a statement again for each
row; where a row costs as little as a signature, both are a good part of it. So drivers are given
the text and the values, and PostgreSQL all rows at once, an array for each column.

    write = Prepared(table, ["id", "name"])
    change = Prepared(table, ["name"], by="id")
    write.run(connection, [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    run_all(connection, (write, new), (change, known))

Sources: https://www.postgresql.org/docs/current/queries-with.html (WITH that changes data),
https://www.postgresql.org/docs/current/functions-array.html (unnest).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import JSON, BigInteger, Boolean, Connection, Integer, LargeBinary, String, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

__all__ = [
    "Part",
    "Prepared",
    "all_for_sqlite",
    "columns_for_postgresql",
    "run_all",
    "texts_for_postgresql",
]

_Rows = Sequence[Mapping[str, Any]]
# Of what the arrays are, the nearest kind first.
_ARRAYS: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (BigInteger, "bigint"),
    (Integer, "integer"),
    (Boolean, "boolean"),
    (LargeBinary, "bytea"),
    (JSON, "text"),
    (String, "text"),
)


class Prepared:
    """An INSERT of rows, or an UPDATE of rows by a key.

    Args:
        table: Which.
        columns: What is written.
        by: The column that says which row is changed; None to insert.
    """

    def __init__(self, table: Table, columns: Iterable[str], *, by: str | None = None) -> None:
        self._table = table
        self._by = by
        self._columns = [table.c[name] for name in columns]
        if by is not None:
            self._columns.append(table.c[by])
        self._values = _getter([column.name for column in self._columns])
        self._processors: dict[str, list[tuple[int, Callable[[Any], Any]]]] = {}

    def run(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Do it for each row, in their order.

        Args:
            connection: In a transaction.
            rows: Values by column, as the columns' Python types; none may be missing.

        Raises:
            KeyError: A row lacks a value.
            DBAPIError: As ``Connection.execute`` does.
        """
        run_all(connection, (self, list(rows)))

    def values(self, dialect: Dialect, rows: _Rows) -> list[tuple[Any, ...]]:
        """Each row's values, as the driver takes them."""
        processors = self._processors.get(dialect.name)
        if processors is None:
            processors = self._processors[dialect.name] = _processors(self._columns, dialect)
        found = [self._values(row) for row in rows]
        return [_processed(row, processors) for row in found] if processors else found

    @cached_property
    def for_sqlite(self) -> str:
        """The text for SQLite, a row at a time."""
        # Of names that are our own.
        names = [_quoted(column.name) for column in self._columns]
        table = _quoted(self._table.name)
        if self._by is None:
            marks = ", ".join("?" for _ in names)
            return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608
        *changed, key = [f"{name} = ?" for name in names]
        return f"UPDATE {table} SET {', '.join(changed)} WHERE {key}"  # noqa: S608

    @cached_property
    def all_for_sqlite(self) -> str:
        """The text for SQLite, all rows at once: its parameter is a JSON array of arrays."""
        names = [_quoted(column.name) for column in self._columns]
        table = _quoted(self._table.name)
        if any(_array(column) == "bytea" for column in self._columns):
            raise TypeError(f"{table} has a column that JSON has no word for")
        given = [f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(names)]
        rows = f"SELECT {', '.join(given)} FROM json_each(?)"  # noqa: S608
        if self._by is None:
            return f"INSERT INTO {table} ({', '.join(names)}) {rows}"
        *changed, key = names
        changes = ", ".join(f"{name} = given.{name}" for name in changed)
        return (
            f"UPDATE {table} SET {changes} FROM ({rows}) AS given WHERE {table}.{key} = given.{key}"  # noqa: S608
        )

    def for_postgresql(self, first: int) -> str:
        """The text for PostgreSQL, all rows at once.

        Args:
            first: The number of its first parameter.
        """
        names = [_quoted(column.name) for column in self._columns]
        table = _quoted(self._table.name)
        arrays = [
            f"${first + place}::{_array(column)}[]" for place, column in enumerate(self._columns)
        ]
        given = [
            f"given.{name}::jsonb" if isinstance(column.type, JSON) else f"given.{name}"
            for name, column in zip(names, self._columns, strict=True)
        ]
        if self._by is None:
            # Numbers that the database gives follow the order of the rows.
            return (
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(given)} "  # noqa: S608
                f"FROM unnest({', '.join(arrays)}) WITH ORDINALITY "
                f"AS given ({', '.join(names)}, place) ORDER BY given.place"
            )
        changed = [f"{name} = {value}" for name, value in zip(names, given, strict=True)]
        return (
            f"UPDATE {table} SET {', '.join(changed[:-1])} FROM unnest({', '.join(arrays)}) "  # noqa: S608
            f"AS given ({', '.join(names)}) WHERE {table}.{names[-1]} = {given[-1]}"
        )

    @property
    def width(self) -> int:
        """How many values a row has."""
        return len(self._columns)


Part = tuple[Prepared, _Rows]
"""What is written, and its rows."""
_texts: dict[tuple[Prepared, ...], str] = {}


def run_all(connection: Connection, *parts: Part) -> None:
    """Write rows of several tables; on PostgreSQL in one statement.

    There the parts' order is no one's to rely on, but for the last part's rows: they are written
    in their order. A row may be in one part only, and keys between tables are checked at the end.

    Args:
        connection: In a transaction.
        parts: What to write, and the rows; those without rows are left out.

    Raises:
        KeyError: A row lacks a value.
        DBAPIError: As ``Connection.execute`` does.
    """
    given = [(part, rows) for part, rows in parts if rows]
    dialect = connection.dialect
    if dialect.name == "sqlite":
        for part, rows in given:
            connection.exec_driver_sql(part.for_sqlite, part.values(dialect, rows))
    elif given:
        chosen = tuple(part for part, _ in given)
        text = _texts.get(chosen) or _joined(chosen)
        connection.exec_driver_sql(text, tuple(columns_for_postgresql(given, dialect)))


def all_for_sqlite(parts: Iterable[Part], dialect: Dialect) -> list[tuple[str, tuple[str]]]:
    """The same for SQLite's driver: a statement for each part that has rows, and its parameter.

    SQLite runs it from one end to the other without asking for anything in between.

    Args:
        parts: What to write, and the rows.
        dialect: The driver's.

    Raises:
        KeyError: A row lacks a value.
    """
    return [
        (part.all_for_sqlite, (orjson.dumps(part.values(dialect, rows)).decode(),))
        for part, rows in parts
        if rows
    ]


def _joined(parts: tuple[Prepared, ...]) -> str:
    *earlier, last = texts_for_postgresql(parts, 1)
    named = ", ".join(f"part{place} AS ({text})" for place, text in enumerate(earlier))
    text = _texts[parts] = f"WITH {named} {last}" if named else last
    return text


def texts_for_postgresql(parts: Iterable[Prepared], first: int) -> list[str]:
    """The texts of several, for one statement.

    Args:
        parts: What is written.
        first: The number of the first parameter.
    """
    texts = []
    for part in parts:
        texts.append(part.for_postgresql(first))
        first += part.width
    return texts


def columns_for_postgresql(parts: Iterable[Part], dialect: Dialect) -> list[list[Any]]:
    """The parameters of such a statement: a list for each column.

    Args:
        parts: What is written, and the rows.
        dialect: The driver's.

    Raises:
        KeyError: A row lacks a value.
    """
    found: list[list[Any]] = []
    for part, rows in parts:
        values = part.values(dialect, rows)
        found += map(list, zip(*values, strict=True)) if values else ([] for _ in range(part.width))
    return found


def _quoted(name: str) -> str:
    return f'"{name}"'


def _array(column: Any) -> str:
    own = getattr(column.type, "impl", column.type)  # of SQLModel's kind of text
    for kind, name in _ARRAYS:
        if isinstance(own, kind):
            return name
    raise TypeError(f"no array for {column.type!r}")


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    # An itemgetter of one name gives no tuple.
    return itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)


def _processors(columns: Iterable[Any], dialect: Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
    """By place, what makes a value one of the driver's."""
    found = []
    for place, column in enumerate(columns):
        processor = column.type.dialect_impl(dialect).bind_processor(dialect)
        if processor is not None:
            found.append((place, processor))
    return found


def _processed(
    row: tuple[Any, ...], processors: Iterable[tuple[int, Callable[[Any], Any]]]
) -> tuple[Any, ...]:
    values = list(row)
    for place, processor in processors:
        values[place] = processor(values[place])
    return tuple(values)
