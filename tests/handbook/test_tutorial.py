"""docs/tutorial.md, from nothing: each file is saved, each command run, each output compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.terminals import Terminals, blocks

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text("utf-8")

pytestmark = pytest.mark.timeout(300)  # many programs, one after the other


def test_the_tutorial_from_nothing(tmp_path: Path) -> None:
    with Terminals(tmp_path) as terminals:
        terminals.play(PAGE)
        for name in ("alice.nk", "bob.nk", "eve.creds"):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_it_has_nothing_that_is_not_run() -> None:
    assert {block.kind for block in blocks(PAGE)} == {"sh", "python", "text"}
