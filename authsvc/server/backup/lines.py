"""Lines of JSON, compressed: what is inside the encrypted file.

Reading is bounded whatever the lines hold: one is never longer than ``LONGEST``, and no more than
a megabyte is unpacked at a time.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from authsvc.errors import InvalidBackup
from authsvc.server.backup.envelope import Sealed

__all__ = ["LONGEST", "LineWriter", "read_lines", "values_of"]

LONGEST = 128 * 1024 * 1024
"""Bytes: a dead letter of the largest payload that a setting allows, in base64, and more."""
_GZIP = 31  # zlib's word for a window of 32 KiB and gzip's frame
_PIECE = 1024 * 1024
_BROKEN = "what is in the file is not as a backup is: it was made by something else"


class LineWriter:
    """Writes lines into an encrypted file.

    Args:
        sealed: The file.
    """

    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed
        self._packer = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 of all lines so far, in hex."""
        return self._digest.hexdigest()

    def write(self, value: Any) -> bytes:
        """Write one line; returns it."""
        line = orjson.dumps(value) + b"\n"
        if len(line) > LONGEST:
            raise InvalidBackup(f"a row has {len(line)} bytes, and {LONGEST} are the most")
        self._digest.update(line)
        self._sealed.write(self._packer.compress(line))
        return line

    def close(self) -> None:
        """Write what is still held, and the file's end."""
        self._sealed.write(self._packer.flush())
        self._sealed.close()


def read_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, each with its end.

    Args:
        pieces: Of the compressed text.

    Raises:
        InvalidBackup: They are no lines, or a line is too long.
    """
    held: list[bytes] = []
    size = 0
    for text in _unpack(pieces):
        *whole, rest = text.split(b"\n")
        for end in whole:
            yield b"".join([*held, end, b"\n"])
            held, size = [], 0
        held.append(rest)
        size += len(rest)
        if size > LONGEST:
            raise InvalidBackup(_BROKEN)
    if size:
        raise InvalidBackup(_BROKEN)


def _unpack(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(_GZIP)
    for piece in pieces:
        waiting = piece
        while waiting:
            if unpacker.eof:
                raise InvalidBackup(_BROKEN)  # something after the end
            try:
                text = unpacker.decompress(waiting, _PIECE)
            except zlib.error:
                raise InvalidBackup(_BROKEN) from None
            waiting = unpacker.unused_data or unpacker.unconsumed_tail
            yield text
    while not unpacker.eof:
        try:
            text = unpacker.decompress(b"", _PIECE)
        except zlib.error:
            text = b""
        if not text and not unpacker.eof:
            raise InvalidBackup(_BROKEN)
        yield text


def values_of(line: bytes) -> Any:
    """What a line says.

    Raises:
        InvalidBackup: It is no JSON.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        raise InvalidBackup(_BROKEN) from None
