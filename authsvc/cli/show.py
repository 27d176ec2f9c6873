"""How commands show what the service answered: for eyes, or for a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["cell", "counted", "print_members", "print_propagation", "print_table", "visible"]

_PIPE_WIDTH = 250


def visible(text: str) -> str:
    """Text that no terminal obeys."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def cell(value: object) -> str:
    """A member of an answer in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table; into a pipe without folding, because whatever reads it looks for whole ids."""
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    plain = bool(os.environ.get("NO_COLOR"))  # rich leaves out colours then, and keeps bold
    table = Table(box=None, pad_edge=False, header_style="" if plain else "bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*[Text(visible(cell(value))) for value in row])
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    console.print(table)
    if not table.row_count and sys.stdout.isatty():
        print("none")


def print_members(found: Mapping[str, Any]) -> None:
    """One thing, a member a line; what is null is left out."""
    width = max(map(len, found), default=0)
    for name, value in found.items():
        if value is not None:
            print(f"{name.replace('_', ' '):{width}}  {visible(cell(value))}")


def print_propagation(found: Mapping[str, Any]) -> None:
    """How far a change has come."""
    behind = [str(server["name"]) for server in found["servers"] if not server["applied"]]
    if found["state"] == "applied":
        print("every nats-server holds it")
    else:
        print(f"not yet held by: {visible(', '.join(behind)) or 'any nats-server'}")


def counted(number: int, what: str) -> str:
    """``1 credential``, ``2 credentials``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
