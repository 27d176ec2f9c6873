"""docs/performance.md: its table is what the figures say, and each part has its plot."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import on_cores
from benchmarks.report import table
from benchmarks.report_parts import PARTS, Part

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "performance.md").read_text("utf-8")
FIGURES: dict[str, Any] = json.loads((DOCS / "benchmarks" / "performance.json").read_text("utf-8"))


def test_the_table_is_what_the_figures_say() -> None:
    assert f"\n{table(FIGURES)}\n" in PAGE, "run `python -m benchmarks.report --draw`"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: str(part.name))
def test_each_part_was_measured_and_is_drawn(part: Part) -> None:
    bars = part.bars(FIGURES["parts"][part.name]["found"])
    assert all(value >= 0 for value in bars.values.values())
    for ending in ("png", "svg"):
        assert (DOCS / "benchmarks" / f"performance-{part.name}.{ending}").exists()
    assert f"(benchmarks/performance-{part.name}.svg)" in PAGE
    module = part.command.split()[0]
    assert importlib.util.find_spec(module) is not None


def test_where_time_goes_is_kept() -> None:
    kept = (DOCS / "benchmarks" / "profile-issue.txt").read_text("utf-8")
    assert "share  by package" in kept
    assert "share  by innermost function" in kept


def test_what_is_pinned_sees_one_core_and_nobody_else_does() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    asked = "import os; print(os.sched_getaffinity(0))"
    with on_cores([core]):
        child = subprocess.Popen([sys.executable, "-c", asked], stdout=subprocess.PIPE, text=True)
    assert os.sched_getaffinity(0) == before
    assert child.communicate(timeout=20)[0].strip() == str({core})
