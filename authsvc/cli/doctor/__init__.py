"""``authsvc doctor``: what is wrong, and the command that mends it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from authsvc.cli.context import AsJson, ContextDir
from authsvc.cli.show import visible

if TYPE_CHECKING:
    from authsvc.cli.doctor.finding import Finding

__all__ = ["doctor"]

_PIPE_WIDTH = 250
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    *,
    data_dir: ContextDir = None,
    problems: Annotated[bool, typer.Option("--problems", help="Only what is not well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that can be wrong, and say what mends it; nothing is changed.

    On the machine of `authsvc up` it looks at files, database and keys as well; with AUTHSVC_URL
    and AUTHSVC_API_KEY at a service elsewhere, by its API. Exit code 1 where something fails;
    warnings alone are 0.

    Example: authsvc doctor --data-dir ./data
    """
    from authsvc.cli.doctor.examination import examine  # noqa: PLC0415 - slow to import

    found = examine(data_dir)
    shown = [it for it in found if not problems or it.state != "ok"]
    bad = sum(it.state == "fail" for it in found)
    if as_json:
        print(json.dumps({"ok": not bad, "findings": [it.as_dict() for it in shown]}))
    else:
        _print(shown)
        count = {state: sum(it.state == state for it in found) for state in _STYLES}
        print(f"{count['ok']} ok, {count['warn']} to look at, {bad} failed")
    if bad:
        raise typer.Exit(1)


def _print(found: list[Finding]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "check", "found", "what mends it"):
        table.add_column(title, overflow="fold")
    for it in found:
        cells = [Text(visible(text)) for text in (it.check, it.detail, it.mend)]
        table.add_row(Text(it.state, style=_STYLES[it.state]), *cells)
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    console.print(table)
