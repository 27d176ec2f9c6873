"""docs/comparison.md: each tick of ours leads to a test that is there, and is one that runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "comparison.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split("|")]
    for line in PAGE.partition("## Feature by feature")[2].splitlines()
    if line.startswith("|") and not line.startswith("|---")
]
RIVALS = 7


def test_each_tick_of_ours_leads_to_a_test() -> None:
    features = [row for row in ROWS[1:] if not row[0].startswith("**")]
    assert len(features) > 15
    for row in features:
        assert len(row) == 2 + RIVALS, row
        found = re.fullmatch(r"\[✓\]\((\.\./tests/[\w/]+\.py)#(\w+)\)", row[1])
        assert found or row[1][0] in "~\u2013", row
        if found:
            tree = ast.parse((DOCS / found[1]).read_text("utf-8"))
            names = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert found[2].startswith("test_")
            assert found[2] in names, f"{row[0]}: {found[1]} has no {found[2]}"


def test_what_others_have_is_said_in_the_same_signs() -> None:
    for row in ROWS[1:]:
        if not row[0].startswith("**"):
            assert all(cell[0] in "✓~\u2013" for cell in row[2:]), row


def test_links_into_tests_lead_somewhere() -> None:
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\((\.\./[^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
