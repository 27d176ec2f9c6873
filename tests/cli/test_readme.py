"""The README's two apps, word for word, as processes of their own."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.test_up import StartUp, start_up

README = Path(__file__).parent.parent.parent / "README.md"
URL = "http://127.0.0.1:8080"

__all__ = ["start_up"]


def test_two_apps_in_ten_lines(start_up: StartUp, tmp_path: Path) -> None:
    up = start_up("--dev-login")
    section = README.read_text().partition("## Two apps in ten lines")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    assert len(blocks) == 2
    assert all(URL in block for block in blocks)
    responder, requester = (block.replace(URL, up.url) for block in blocks)
    with subprocess.Popen([sys.executable, "-c", responder], cwd=tmp_path) as alice:
        try:
            deadline = time.monotonic() + 20
            while True:
                bob = subprocess.run(
                    [sys.executable, "-c", requester],
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=30,
                )
                if bob.returncode == 0:
                    break
                # Alice's app may not be there yet: then bob is told so at once.
                assert "NoResponder" in bob.stderr
                assert time.monotonic() < deadline
        finally:
            alice.terminate()
        assert alice.wait(20) == 0
    assert bob.stdout.strip() == "{'pong': 1, 'hello': 'bob@example.com'}"
    for name in ("alice.nk", "bob.nk"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
