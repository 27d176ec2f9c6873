"""Where log lines go: a stream that loses a line rather than a request, and a file of bounded size.

Both take whole lines as bytes, unbuffered: what could not be written once must not stand in the
way for ever.
"""

from __future__ import annotations

import contextlib
import os
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

__all__ = ["MAX_BYTES", "OLDER", "LogFile", "Lossy"]

MAX_BYTES = 16 << 20
"""Of a log file, unless told otherwise; as that of nats-server."""
OLDER = 3
"""Files that are kept beside the one that is written."""


class Lossy:
    """A stream that rather loses a line than a request.

    On a full disk, when nobody reads standard error any more, or after the end, each refusal
    would else become a 500, because it is logged.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Write whole lines, or nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Of standard error; a file has nothing to flush."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class LogFile(Lossy):
    """A file that only its owner may read, and the older ones beside it.

    When it is full it becomes ``NAME.1``, that ``NAME.2``, and so on; the oldest goes. What is
    written at once stays together, so no line is cut. One process writes it.

    Args:
        path: Its folder is made if it is missing.
        max_bytes: Of each file. A single write that is larger makes a larger file.
        older: How many are kept beside it.

    Raises:
        OSError: It can't be opened.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, older: int = OLDER) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        super().__init__(_opened(path))
        self._path = path
        self._max_bytes = max_bytes
        self._size = os.fstat(self._stream.fileno()).st_size
        # It only renames: delayed, it opens nothing.
        self._names = RotatingFileHandler(path, backupCount=older, delay=True)
        self._lock = threading.Lock()

    def write(self, data: bytes) -> int:
        """Write whole lines, into the next file where this one has no room for all of them."""
        with self._lock:
            self._size += len(data)
            if self._size > self._max_bytes:
                self._make_room(len(data))
            return super().write(data)

    def close(self) -> None:
        """From now on lines are lost."""
        with self._lock:
            self._names.close()
            self._stream.close()

    def _make_room(self, coming: int) -> None:
        size = coming
        # Where it fails the file goes on, and this is tried again after as many bytes.
        with contextlib.suppress(OSError, ValueError):
            # Somebody may have cut it since. A device, such as /dev/null, has no size at all.
            held = os.fstat(self._stream.fileno()).st_size
            if held + coming <= self._max_bytes:
                size += held
            elif held:
                self._names.doRollover()
                full, self._stream = self._stream, _opened(self._path)
                full.close()
        self._size = size


def _opened(path: Path) -> IO[bytes]:
    return open(path, "ab", buffering=0, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
