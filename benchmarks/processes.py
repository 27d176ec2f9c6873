"""What the system knows of a process: its CPU time, its memory, the cores that it may use.

Read from /proc (proc_pid_stat(5), proc_pid_status(5)), so of any process, and for Linux.
"""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads until now, to a hundredth of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


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
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(folder.name))
    return found
