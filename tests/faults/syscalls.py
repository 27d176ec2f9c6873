"""System calls of running processes, delayed or refused: disks that are slow, or take no writes.

    async with spoiled([pid], "fsync,fdatasync:delay_enter=300000") as done:
        ...                                     # each takes 0.3 s, if done

strace attaches to the processes and does it, so what is seen is what the kernel says.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fixtures.waiting import until

__all__ = ["spoiled"]


@asynccontextmanager
async def spoiled(
    pids: Sequence[int],
    inject: str,
    *,
    only: Sequence[Path] = (),
    within: Sequence[str] = (),
) -> AsyncIterator[bool]:
    """Spoil system calls meanwhile; False where there is no strace, or nobody may attach.

    Args:
        pids: Of the processes; what they start is spoiled too.
        inject: Which calls, and how; as strace's ``--inject`` has it.
        only: The files that it is about; all if empty.
        within: What strace is started by.
    """
    if not shutil.which("strace"):
        yield False
        return
    strace = await asyncio.create_subprocess_exec(
        *(*within, "strace", "-qq", "-f", *(f"-p{pid}" for pid in pids), "-o", os.devnull),
        *("-e", f"trace={inject.partition(':')[0]}", "-e", f"inject={inject}"),
        *(f"-P{path}" for path in only),
        stderr=subprocess.DEVNULL,
    )
    try:
        await until(lambda: all(map(_traced, pids)) or strace.returncode is not None)
        yield strace.returncode is None
    finally:
        if strace.returncode is None:
            strace.send_signal(signal.SIGINT)
        await strace.wait()


def _traced(pid: int) -> bool:
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # it has ended meanwhile
        return True
