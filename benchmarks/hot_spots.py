"""Where a login's CPU time goes: samples of the service while it is asked, as two small tables.

    python -m benchmarks.hot_spots [--seconds 8] [--database URL] [--write]

Needs py-spy, of the extra ``bench``, and on Linux the right to look into processes of one's own.
``--write`` puts the tables into docs/benchmarks/profile-issue.txt.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks.issue import CONNECTIONS, Server, make_people, prepare
from benchmarks.load import burst

_PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "profile-issue.txt"
_PER_SECOND = 400
_ROWS = 18
_FRAME = re.compile(r"(?P<function>.+?) \((?P<file>[^:()]+)(?::\d+)?\)$")
_PACKAGES = re.compile(r"(?:site-packages/|lib/python3\.\d+/|^)(authsvc/[\w/]+|[\w]+)")


def _place(frame: str) -> tuple[str, str]:
    """The package, of ours the module, and the function with its file."""
    found = _FRAME.match(frame)
    if found is None:
        return "other", frame
    path = found["file"].removesuffix(".py")
    package = _PACKAGES.search(path)
    name = package[1] if package else path
    return name, f"{found['function']}  {path.rpartition('site-packages/')[2]}"


def tables(text: str) -> str:
    """From collapsed stacks, a line each with its count, to shares by package and by function."""
    packages: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not any("MainThread" in it or "issue_servers" in it for it in frames):
            packages["commits, in their thread"] += int(count)
            continue
        package, function = _place(frames[-1])
        packages[package] += int(count)
        functions[function] += int(count)
    total = packages.total()
    lines = ["share  by package or module of the innermost function", ""]
    lines += [f"{n / total:6.1%}  {name}" for name, n in packages.most_common(_ROWS)]
    lines += ["", "share  by innermost function", ""]
    lines += [f"{n / total:6.1%}  {name}" for name, n in functions.most_common(_ROWS)]
    return "\n".join(lines) + "\n"


async def _asked(port: int, seconds: float) -> None:
    people = make_people(200, "known")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await burst(port, prepare(port, people, 1000), CONNECTIONS)


def sample(database: str, seconds: float, folder: Path) -> str:
    """Ask the service for so long, and look at it meanwhile."""
    server = Server("authsvc", database)
    out = folder / "stacks"
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_asked(server.port, 1))
            sampling = subprocess.Popen(
                [
                    *("py-spy", "record", "--pid", str(server.process.pid), "--threads"),
                    *("--format", "raw", "--rate", str(_PER_SECOND)),
                    *("--duration", str(int(seconds)), "--output", str(out)),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            runner.run(_asked(server.port, seconds + 1))
            sampling.wait(30)
    finally:
        server.stop()
    return tables(out.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--database", help="a database URL; SQLite in a new folder unless given")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = options.database or f"sqlite+aiosqlite:///{folder / 'bench.db'}"
        found = sample(database, options.seconds, folder)
    if options.write:
        _PAGE.write_text(found)
    print(found)


if __name__ == "__main__":
    main()
