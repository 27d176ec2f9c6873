"""How ``authsvc audit`` shows what it found."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from authsvc.cli.show import print_table, visible

if TYPE_CHECKING:
    from authsvc.server.audit.verify import Problem, Report

__all__ = ["print_items", "print_report", "report_json"]


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


def print_items(items: list[dict[str, Any]]) -> None:
    """What ``list`` prints for eyes."""
    titles = ("at", "actor", "action", "target", "address", "request")
    rows = [
        (
            item["at"],
            f"{item['actor']['kind']} {item['actor']['id']}",
            item["action"],
            f"{item['target']['kind']} {item['target']['id']}",
            item["address"],
            item["request_id"],
        )
        for item in items
    ]
    print_table(titles, rows)
