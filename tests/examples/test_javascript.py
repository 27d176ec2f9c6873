"""The example in JavaScript, by node and the packages its lock file names."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.terminals import Terminals

EXAMPLE = Path(__file__).parents[2] / "examples" / "javascript"
VECTORS = Path(__file__).parents[1] / "vectors" / "subjects.json"

pytestmark = [
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
    pytest.mark.timeout(300),  # ten programs, one after the other
]


def test_its_readme(tmp_path: Path) -> None:
    with Terminals(tmp_path, EXAMPLE) as terminals:
        terminals.play((EXAMPLE / "README.md").read_text("utf-8"))
        program = (
            "import { token } from './authsvc.mjs';"
            "import { readFileSync } from 'node:fs';"
            "const names = JSON.parse(readFileSync(0, 'utf8'));"
            "console.log(JSON.stringify(names.map(token)));"
        )
        tokens = dict(json.loads(VECTORS.read_text("utf-8"))["tokens"])
        done = subprocess.run(
            ["node", "--input-type=module", "-e", program],
            cwd=tmp_path,
            input=json.dumps(list(tokens)),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert json.loads(done.stdout) == list(tokens.values())


def test_the_lock_names_no_place() -> None:
    lock = (EXAMPLE / "package-lock.json").read_text("utf-8")
    assert "://" not in lock
    for name, package in json.loads(lock)["packages"].items():
        assert not name or package["integrity"].startswith("sha512-")


def test_its_responder_is_the_one_of_ping_pong() -> None:
    other = EXAMPLE.parent / "ping-pong" / "responder.py"
    assert (EXAMPLE / "responder.py").read_text() == other.read_text()
