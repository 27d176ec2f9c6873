"""A page's commands and files, played from nothing in terminals of their own.

with Terminals(folder) as terminals:
    terminals.play(Path("docs/tutorial.md").read_text())

What stands in the page:

- ``sh title="Terminal 3"``, or without a title: a command that ends, with 0.
- ``sh title="Terminal 1"`` and ``"Terminal 2"``: one that goes on; it is waited for until it prints
  a line that begins with ``ready``. ``# Ctrl-C`` in place of a command ends what runs there.
- ``python title="alice.py"``: a file, which is saved.
- ``text``: lines that the command before it printed, in this order of words; with a title, that the
  terminal has printed when its program ended. There ``…`` stands for anything.

Ports 8080 and 4222 of this machine become free ones, in files that lie there too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple, Self

from tests.cli.test_up import eventually
from tests.fixtures import forks
from tests.fixtures.ports import free_port

__all__ = ["Block", "Terminals", "blocks"]

STAYING = ("Terminal 1", "Terminal 2")
STOP = "# Ctrl-C"


class Block(NamedTuple):
    kind: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """All code blocks of a page, in order."""
    fence = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
    found = [Block(*parts) for parts in fence.findall(page)]
    assert len(found) == page.count("```") // 2, "a block without a language, or not closed"
    return found


class Terminals:
    """Terminals in one folder, with this package's own ``authsvc`` and ``python``.

    Args:
        folder: Where commands run.
        source: Whose files lie there too.
        whole: ``authsvc`` is the installed script, and not forked (see tests/fixtures/forks).
        env: Beside this process's own environment.
    """

    def __init__(
        self,
        folder: Path,
        source: Path | None = None,
        *,
        whole: bool = False,
        env: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.ports = {"8080": str(free_port()), "4222": str(free_port())}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.printed = ""
        plain = {name: value for name, value in os.environ.items() if "AUTHSVC" not in name}
        self.env = {**plain, "NO_COLOR": "1", **(env or {})}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"
        self.programs = None if whole else tempfile.TemporaryDirectory(prefix="authsvc-terminals-")
        if self.programs is not None:
            forks.script(Path(self.programs.name))
            self.env["PATH"] = f"{self.programs.name}:{self.env['PATH']}"
        if source is not None:
            made = shutil.ignore_patterns("node_modules", "__pycache__", "net")
            shutil.copytree(source, folder, ignore=made, dirs_exist_ok=True)
            for file in folder.iterdir():
                if file.is_file():
                    file.write_text(self.here(file.read_text("utf-8")), "utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
            process.wait(20)
        if self.programs is not None:
            self.programs.cleanup()

    def here(self, text: str) -> str:
        """The text with ports that are free on this machine."""
        for port, free in self.ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        options = f"--port {self.ports['8080']} --nats-port {self.ports['4222']}"
        return text.replace("authsvc up ", f"authsvc up {options} ")

    def play(self, page: str) -> None:
        """Everything that stands in the page, in order; then Ctrl-C in the first terminal."""
        for kind, title, text in blocks(page):
            if kind == "text":
                self._compare(title, text)
            elif kind != "sh":
                (self.folder / title).write_text(self.here(text), "utf-8")
            elif title not in STAYING:
                self._run(self.here(text))
            elif text.strip() == STOP:
                self.stop(title)
            else:
                self._stay(title, self.here(text))
        self.stop("Terminal 1")

    def stop(self, title: str) -> None:
        """Ctrl-C; what ends by it ends with 0."""
        process = self.running[title]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, self.log(title)

    def log(self, title: str) -> str:
        """What was printed in a terminal."""
        return (self.folder / f"{title}.log").read_text("utf-8")

    def _stay(self, title: str, command: str) -> None:
        with (self.folder / f"{title}.log").open("wb") as log:
            self.running[title] = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command.strip()}"],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
            )

        def ready() -> bool:
            assert self.running[title].poll() is None, self.log(title)
            return re.search("^ready", self.log(title), re.MULTILINE) is not None

        eventually(ready, 60)

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", command],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        self.printed = done.stdout

    def _compare(self, title: str, wanted: str) -> None:
        if title:
            self.running[title].wait(30)
        shown = self.log(title) if title else self.printed
        for line in self.here(wanted).splitlines():
            pattern = r".*".join(re.escape(part.strip()) for part in line.split("…"))
            assert re.search(f"^ *{pattern} *$", shown, re.MULTILINE), (line, shown)
