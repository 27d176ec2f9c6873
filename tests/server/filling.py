"""Rows for every table of a database of any schema: what a backup or an upgrade must not lose."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Integer, LargeBinary, MetaData, Table, types

__all__ = ["content", "fill"]

ROWS = 3


def fill(connection: Connection, *, without: tuple[str, ...] = ()) -> list[str]:
    """Put rows into each table that has none; returns which tables those were."""
    found = MetaData()
    found.reflect(connection)
    filled = []
    for table in found.sorted_tables:
        present = connection.execute(table.select().limit(1)).first()
        if table.name in {"alembic_version", *without} or present is not None:
            continue
        parents = {
            column.name: [
                row[0]
                for row in connection.execute(
                    next(iter(column.foreign_keys))
                    .column.table.select()
                    .with_only_columns(next(iter(column.foreign_keys)).column)
                )
            ]
            for column in table.columns
            if column.foreign_keys
        }
        rows = [
            {column.name: _value(table, column, place, parents) for column in table.columns}
            for place in range(ROWS)
        ]
        connection.execute(table.insert(), rows)
        filled.append(table.name)
    return filled


def _value(table: Table, column: Column[Any], place: int, parents: dict[str, list[Any]]) -> Any:
    if column.nullable and place == ROWS - 1:
        return None
    if column.foreign_keys:
        values = parents[column.name]
        return values[place % len(values)]
    return _plain(table, column, place)


def _plain(table: Table, column: Column[Any], place: int) -> Any:
    if isinstance(column.type, types.JSON):
        return ["a", "\u00e9"] if column.name != "details" else {"b": [1, None], "a": "\u00e9"}
    if isinstance(column.type, LargeBinary):
        return f"{table.name}.{column.name}".encode().ljust(31, b"\xff") + bytes([place])
    if isinstance(column.type, Boolean):
        return place == 0
    if isinstance(column.type, Integer):
        return (1 << 40 if "BIGINT" in str(column.type) else 1000) + place
    return f"{table.name}.{column.name} \u00e9 {place}"


def content(connection: Connection) -> dict[str, list[str]]:
    """All rows of all tables, each row as text."""
    found = MetaData()
    found.reflect(connection)
    return {
        table.name: sorted(
            json.dumps(dict(row), sort_keys=True, default=lambda it: bytes(it).hex())
            for row in connection.execute(table.select()).mappings()
        )
        for table in found.sorted_tables
        if table.name != "alembic_version"
    }
