"""What a process takes, as Linux counts it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "MIB",
    "Taken",
    "children",
    "cpu_seconds",
    "on_cores",
    "resident",
    "resident_mib",
    "taken",
]

MIB = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Taken:
    """What there is of a process: bytes, seconds of CPU, numbers of threads and of descriptors.

    Args:
        resident: Of memory.
        cpu: Since it started.
        threads: Of the kernel.
        descriptors: That are open.
        disk: Bytes of the files in its folder, as blocks of the disk.
    """

    resident: int
    cpu: float
    threads: int
    descriptors: int
    disk: int


def resident(pid: int | str) -> int:
    """Bytes of memory that the process has resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _stat(pid: int | str) -> list[str]:
    # The name of the program may hold spaces; what is behind it does not (proc(5)).
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads until now, to a hundredth of a second."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_mib(pid: int, *, most: bool = False) -> float:
    """Resident memory in MiB, or the most that it ever had."""
    name = "VmHWM" if most else "VmRSS"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise ProcessLookupError(pid)


def children(pid: int) -> list[int]:
    """Those that it started and that run still."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(_stat(folder.name)[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended while it was looked at
        if parent == pid:
            found.append(int(folder.name))
    return found


@contextlib.contextmanager
def on_cores(cores: Collection[int]) -> Iterator[None]:
    """This thread on these cores only, and for ever what it starts meanwhile.

    A process inherits it before its first instruction, so that a runtime which counts cores at
    its start sees no others.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def taken(pid: int, folder: Path | None = None) -> Taken:
    """Look at a process now."""
    return Taken(
        resident=resident(pid),
        cpu=cpu_seconds(pid),
        threads=int(_stat(pid)[17]),
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208
        disk=_disk(folder) if folder else 0,
    )


def _disk(folder: Path) -> int:
    return sum(
        os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118  quicker by the thousand
        for path, folders, files in os.walk(folder)
        for name in (*folders, *files)
    )
