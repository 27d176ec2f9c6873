"""The examples in Python: each README from its first command to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terminals import Terminals

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.timeout(300)  # many programs, one after the other


@pytest.mark.parametrize("name", ["ping-pong", "offline-mailbox", "retrieval"])
def test_its_readme(name: str, tmp_path: Path) -> None:
    # One with the installed script itself.
    with Terminals(tmp_path, EXAMPLES / name, whole=name == "ping-pong") as terminals:
        terminals.play((EXAMPLES / name / "README.md").read_text("utf-8"))


def test_every_example_has_a_readme_and_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for folder in EXAMPLES.iterdir():
        if folder.is_dir():
            assert (folder / "README.md").exists(), folder.name
            assert f"]({folder.name}/README.md)" in listed, folder.name
