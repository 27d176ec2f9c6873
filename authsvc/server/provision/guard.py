"""Runs a program that ends when its parent does, however the parent ends.

    python -I -S guard.py kernel|pipe PARENT_PID PROGRAM ARGUMENT...

Run as a file of its own and not with ``preexec_fn``: Python code between fork and exec can hang
where other threads hold locks. ``kernel``, on Linux: the kernel is asked to kill this process
when the thread that started it dies (prctl(2), PR_SET_PDEATHSIG, which survives execve), and then
the program takes its place. ``pipe``, elsewhere: this process stays, with a pipe from the parent
as its standard input; the pipe's end is the parent's end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the program; returns its exit status, if it returns at all."""
    way, parent, command = arguments[0], int(arguments[1]), arguments[2:]
    return _replace(parent, command) if way == "kernel" else _watch(command)


def _replace(parent: int, command: list[str]) -> int:  # noqa: RET503  execv has no return
    import ctypes  # noqa: PLC0415  Linux alone needs it, and every start pays for it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        sys.stderr.write(f"guard: prctl failed: {os.strerror(ctypes.get_errno())}\n")
        return 1
    # The parent may have died before the kernel was asked; then nobody will be told.
    if os.getppid() != parent:
        return 1
    os.execv(command[0], command)  # noqa: S606  its caller chose the program


def _watch(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, lambda *_: child.terminate())

    def until_parent_ends() -> None:
        # Not through sys.stdin, whose lock this thread would still hold at the end.
        while os.read(0, 1024):
            pass
        child.kill()

    threading.Thread(target=until_parent_ends, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
