"""How many heaps threads share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Threads that are there at the same time and allocate: glibc gives each a heap, up to the bound.
_THREADS = """
import sys, threading
from authsvc.cli.heaps import share_heaps
if "share" in sys.argv:
    assert share_heaps()
barrier = threading.Barrier(9)
def work():
    kept = [bytes(4096) for _ in range(100)]
    barrier.wait(10)
    barrier.wait(10)
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
barrier.wait(10)
# A heap of a thread begins at a multiple of 64 MiB, and most of it can't be written yet.
ends = [
    int(line.split()[0].split("-")[1], 16)
    for line in open("/proc/self/maps")
    if "---p 00000000 00:00 0" in line
]
print(sum(end % (64 << 20) == 0 for end in ends))
barrier.wait(10)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps")
def test_threads_share_two_heaps() -> None:
    environment = {key: it for key, it in os.environ.items() if key != "MALLOC_ARENA_MAX"}

    def heaps(*words: str) -> int:
        command = [sys.executable, "-c", _THREADS, *words]
        return int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    alone, shared = heaps(), heaps("share")
    assert shared <= 1  # beside the main one
    assert alone > shared
