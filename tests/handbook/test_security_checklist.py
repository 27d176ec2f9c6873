"""docs/security-checklist.md: each line has a test that is there, or a reason why it has none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
LINES = [
    line
    for line in (DOCS / "security-checklist.md").read_text("utf-8").splitlines()
    if line.startswith("|")
    and not line.startswith(("|---", "| attack |", "| section", "| requirement"))
]


def test_each_line_leads_to_a_test_or_gives_its_reason() -> None:
    assert len(LINES) > 75
    for line in LINES:
        here = line.strip("| ").rpartition("| ")[2]
        links = re.findall(r"\]\((\.\./tests/[\w/]+\.py)#(\w+)\)", here)
        assert (here.startswith("[✓](") and links) or re.match(r"\u2013 \w{2,}", here), line
        for file, name in links:
            tree = ast.parse((DOCS / file).read_text("utf-8"))
            tests = {
                node.name
                for node in tree.body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name.startswith("test_")
            assert name in tests, f"{line}: {file} has no {name}"
