"""How this program was called, so that what it advises can be copied and run."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["called", "data_dir_option"]


def called() -> str:
    """``authsvc`` where that is on PATH and is this very program, else how it was called."""
    name = sys.argv[0]
    if Path(name).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m authsvc"
    found = shutil.which("authsvc")
    if "/" not in name or (found and os.path.realpath(found) == os.path.realpath(name)):
        return "authsvc"
    return shlex.quote(name)


def data_dir_option(data_dir: Path) -> str:
    """`` --data-dir D``, or nothing where commands look there by themselves."""
    from authsvc.server.data_dir import default_data_dir  # noqa: PLC0415

    usual = default_data_dir().expanduser().absolute()
    return "" if data_dir.absolute() == usual else f" --data-dir {shlex.quote(str(data_dir))}"
