"""Where everything lies unless it is said; apart, because commands need no more of the settings."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_data_dir"]


def default_data_dir() -> Path:
    """``~/.local/share/authsvc``, or as XDG_DATA_HOME says."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "authsvc"
