"""Runs the benchmarks of docs/performance.md and writes what they found into it.

    python -m benchmarks.report [--only NAME ...] [--quick] [--draw]

Writes docs/benchmarks/performance.json, a plot of each part beside it (PNG and SVG), and the table
in docs/performance.md. What is not run keeps its figures, with their own date. ``--quick`` is for
trying: short runs, which say little. ``--draw`` runs nothing. Needs the extra ``bench``; all of it
takes some ten minutes on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.replicas_speed import postgres
from benchmarks.report_parts import PARTS, Part

_ROOT = Path(__file__).parents[1]
_PAGE = _ROOT / "docs" / "performance.md"
_FIGURES = _ROOT / "docs" / "benchmarks" / "performance.json"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->\n"
_SECONDS = 600


def run(part: Part, *, quick: bool) -> Any:
    """What one benchmark printed as JSON: one thing, or a list where it printed several lines."""
    command = [sys.executable, "-m", *part.command.split(), *(part.quick.split() if quick else ())]
    if part.postgres:
        with postgres() as (url, _):
            return _printed([*command, "--database", url])
    return _printed(command)


def _printed(command: list[str]) -> Any:
    done = subprocess.run(
        [*command, "--json"], stdout=subprocess.PIPE, text=True, timeout=_SECONDS, check=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not found:  # an exit code of 1 only says that a bound was missed
        raise RuntimeError(f"{' '.join(command)} printed nothing and ended with {done.returncode}")
    return found[0] if len(found) == 1 else found


def machine() -> dict[str, Any]:
    """Where it ran, without any name of its own."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
    return {"cores": os.cpu_count(), "cpu": cpu, "python": platform.python_version()}


def table(figures: dict[str, Any]) -> str:
    """A row for each ratio."""
    lines = ["| | figure | wanted | | command |", "|---|---:|---:|---|---|"]
    for part in PARTS:
        entry = figures["parts"].get(part.name)
        if entry is None:
            continue
        shown = f"python -m {part.command}"
        if part.postgres:
            shown += " --database postgresql+asyncpg://..."
        for row in part.rows(entry["found"]):
            sign = "" if row.holds is None else ("holds" if row.holds else "**missed**")
            lines.append(f"| {row.title} | {row.text} | {row.wanted} | {sign} | `{shown}` |")
    kind = figures["machine"]
    where = f"{kind['cores']} cores, {kind['cpu']}, Python {kind['python']}"
    dates = sorted({entry["at"] for entry in figures["parts"].values()})
    busiest = max(entry["load"] for entry in figures["parts"].values())
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    quick = [name for name, entry in figures["parts"].items() if entry.get("quick")]
    note = (
        f"\nMeasured {when}: {where}. Processes that wanted a core beside the benchmark, at most: "
        f"{busiest:.1f}.\n"
    )
    if quick:
        note += f"Short runs, which say little: {', '.join(quick)}.\n"
    return "\n".join(lines) + "\n" + note


def write(figures: dict[str, Any]) -> None:
    """The figures, the plots, the table."""
    from benchmarks.report_plots import draw  # noqa: PLC0415 - matplotlib is an extra

    _FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    for part in PARTS:
        if part.name in figures["parts"]:
            draw(part, figures["parts"][part.name]["found"], _FIGURES.parent)
    page = _PAGE.read_text("utf-8")
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(before + _BEGIN + "\n" + table(figures) + "\n" + _END + after, "utf-8")


def main() -> None:
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="short runs, for trying")
    parser.add_argument("--draw", action="store_true", help="run nothing")
    options = parser.parse_args()
    figures = json.loads(_FIGURES.read_text()) if _FIGURES.exists() else {"parts": {}}
    failed = []
    for part in PARTS:
        if options.draw or (options.only and part.name not in options.only):
            continue
        began, load = time.monotonic(), os.getloadavg()[0]
        try:
            found = run(part, quick=options.quick)
        except (RuntimeError, subprocess.SubprocessError) as error:
            failed.append(f"{part.name}: {error}")
            continue
        at = datetime.now(UTC).strftime("%Y-%m-%d")
        figures["parts"][part.name] = {
            "at": at,
            "load": round(load, 1),
            "quick": options.quick,
            "found": found,
        }
        figures["machine"] = machine()
        for row in part.rows(found):
            print(f"{part.name:14} {row.title}: {row.text} (wanted {row.wanted})", flush=True)
        print(f"{part.name:14} took {time.monotonic() - began:.0f} s", flush=True)
        write(figures)  # what is there stays, whatever comes
    if options.draw:
        write(figures)
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
