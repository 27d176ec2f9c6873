"""The notebook, run by a kernel of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.terminals import Terminals

EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook"

pytestmark = pytest.mark.timeout(300)  # many programs, one after the other


def results(path: Path) -> list[str]:
    """What cells ended in."""
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return [
        output["data"]["text/plain"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result"
    ]


def test_its_readme(tmp_path: Path) -> None:
    env = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    with Terminals(tmp_path / "example", EXAMPLE, env=env) as terminals:
        terminals.play((EXAMPLE / "README.md").read_text("utf-8"))
        found = results(tmp_path / "example" / "done.ipynb")
    assert found == ["'bob@example.com'", "'3'", "[1, 2, 3, 4]", "(200, '2')"]


def test_it_is_kept_without_what_it_printed() -> None:
    assert results(EXAMPLE / "words.ipynb") == []
