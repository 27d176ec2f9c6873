"""How ``authsvc audit`` shows what it found."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from authsvc.server.audit.verify import Problem, Report

__all__ = ["print_items", "print_report", "report_json", "visible"]

_PIPE_WIDTH = 250


def report_json(report: Report) -> dict[str, Any]:
    """What ``verify --json`` prints."""
    return {
        "ok": report.ok,
        "batches": report.batches,
        "events": report.events,
        "dropped": report.dropped,
        "unsealed": report.unsealed,
        "first_sealed_at": _time(report.first_sealed_at),
        "head": None if report.head is None else f"{report.head.batch}:{report.head.digest}",
        "found": report.found,
        "problems": [asdict(problem) for problem in report.problems],
    }


def print_report(report: Report) -> None:
    """What ``verify`` prints for eyes."""
    for problem in report.problems:
        print(f"{problem.kind:14}  {_where(problem)}: {visible(problem.detail)}")
    if report.found > len(report.problems):
        print(f"... and {report.found - len(report.problems)} more")
    since = f" since {_time(report.first_sealed_at)}" if report.batches else ""
    print(f"{report.events} events in {report.batches} seals{since}", end="")
    print(f", {report.dropped} dropped by retention" if report.dropped else "", end="")
    print(f"; {report.unsealed} not sealed yet")
    if report.head is not None and report.head.batch:
        print(f"newest seal {report.head.batch}:{report.head.digest}")
    print("the audit is as it was sealed" if report.ok else "THE AUDIT WAS CHANGED")


def _where(problem: Problem) -> str:
    parts = [
        f"{name} {value}"
        for name, value in (("batch", problem.batch), ("seq", problem.seq), ("id", problem.id))
        if value is not None
    ]
    return visible(", ".join(parts)) or "the audit"


def _time(seconds: object) -> str | None:
    """RFC 3339; a column that was changed may hold anything."""
    if not isinstance(seconds, int):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return None


def visible(text: str) -> str:
    """Text that no terminal obeys."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def print_items(items: list[dict[str, Any]]) -> None:
    """What ``list`` prints for eyes."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("at", "actor", "action", "target", "address", "request"):
        table.add_column(title, overflow="fold")
    for item in items:
        cells = (
            item["at"],
            f"{item['actor']['kind']} {item['actor']['id']}",
            item["action"],
            f"{item['target']['kind']} {item['target']['id']}",
            item["address"],
            item["request_id"],
        )
        table.add_row(*[Text(visible(str(cell))) for cell in cells])
    # Into a pipe without folding: whatever reads it looks for whole ids.
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    console.print(table)
