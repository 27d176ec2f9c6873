"""Options and questions of commands that change something."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from authsvc.errors import Forbidden

__all__ = ["DryRun", "Yes", "confirm"]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless it was said already.

    Raises:
        Forbidden: The answer was no, or nobody is there to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise Forbidden(f"{question}\nthis has to be confirmed: say --yes")
    if not typer.confirm(question):
        raise Forbidden("not confirmed")
