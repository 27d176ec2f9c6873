"""The example with the ``nats`` command, built from its source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminals import Terminals

EXAMPLE = Path(__file__).parents[2] / "examples" / "nats-cli"
SOURCE = Path(__file__).parent / "nats"

pytestmark = [
    pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def programs() -> Path:
    """A folder with ``nats`` in it: where ``make test`` put it, or built now.

    The first build takes a minute and a half of CPU; later ones are found in Go's cache.
    """
    beside = Path(sys.executable).parent
    if (beside / "nats").exists():
        return beside
    done = subprocess.run(
        ["go", "tool", "-n", "github.com/nats-io/natscli/nats"],
        cwd=SOURCE,
        check=True,
        timeout=590,
        stdout=subprocess.PIPE,
        text=True,
    )
    return Path(done.stdout.strip()).parent


def test_its_readme(programs: Path, tmp_path: Path) -> None:
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "config")}
    with Terminals(tmp_path / "example", EXAMPLE, env=env) as terminals:
        terminals.play((EXAMPLE / "README.md").read_text("utf-8"))
