"""How often the nats-server that runs as our child collects its garbage.

Go collects whenever the heap has doubled (``GOGC=100``). nats-server's own heap is small, some
10 MB, while stored requests and their answers go through it as fresh objects: it collects many
times a second, and with ``GOGC=400`` the stored path does a fifth more (0.30 of raw calls where
it was 0.25). The price is memory: up to five times what lives instead of twice, some tens of MB
here. So that this stays harmless where much lives, ``GOMEMLIMIT`` stands at half of the memory
there is: near it Go collects as often as it must.

Source: https://go.dev/doc/gc-guide.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from authsvc.server import private

__all__ = ["environment", "memory_bytes"]

_GOGC = "400"
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """The memory of this machine, or of the container if that has less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = int(cgroup.read_text("ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return found
    return min(found, limit)


def environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment for nats-server; what an operator says of either variable stands.

    Args:
        own: Our environment.
    """
    found = private.environment(own)
    if "GOGC" in found:
        return found
    found["GOGC"] = _GOGC
    found.setdefault("GOMEMLIMIT", str(memory_bytes() // 2))
    return found
