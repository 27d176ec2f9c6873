"""docs/reliability.md: each promise leads to a test or benchmark that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith(("|---", "| promise"))
]
LINK = re.compile(r"\]\(\.\./(tests/[\w/]+\.py)#(\w+)\)")


def _tests(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


def test_each_promise_leads_to_a_test_that_is_there() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        assert len(row) == 4, row
        found = LINK.findall(row[2])
        assert found, f"{row[0]}: no test"
        for path, name in found:
            assert name.startswith("test_")
            assert name in _tests(path), f"{row[0]}: {path} has no {name}"


def test_each_benchmark_is_there() -> None:
    named = re.findall(r"`benchmarks\.(\w+)`", PAGE)
    assert named
    for name in named:
        assert (ROOT / "benchmarks" / f"{name}.py").is_file(), name


def test_each_test_of_faults_is_on_the_page() -> None:
    for path in sorted((ROOT / "tests" / "faults").glob("test_*.py")):
        for name in _tests(f"tests/faults/{path.name}"):
            assert not name.startswith("test_") or f"{path.name}#{name})" in PAGE, name
