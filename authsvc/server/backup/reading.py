"""Reading a backup: what it says first, its rows in order, and whether it was whole."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from authsvc.errors import InvalidBackup
from authsvc.server.backup.envelope import unseal
from authsvc.server.backup.lines import read_lines, values_of
from authsvc.server.backup.manifest import Ending, Head, read_ending, read_head
from authsvc.server.backup.stanzas import Opener
from authsvc.server.backup.tables import Codec

__all__ = ["Reader"]

_KEY_BYTES = 32
_MOST_KEYS = 8
_ORDER = "what is in the backup does not follow its first line"


class Reader:
    """A backup that is being read, once and from the beginning.

    Args:
        file: At its beginning.
        openers: Any of them may be the right one.

    Raises:
        InvalidBackup: It is no backup, or none of them opens it.
    """

    def __init__(self, file: BinaryIO, openers: Sequence[Opener]) -> None:
        self._lines = read_lines(unseal(file, openers))
        self._digest = hashlib.sha256()
        self._digests: dict[str, str] = {}
        self.head: Head = read_head(self._next())
        self.master_keys: list[bytes] = []
        """The newest first; empty where they were left out."""
        if self.head.master_keys:
            self.master_keys = _keys(self._next(), self.head.master_keys)
        self.ending: Ending | None = None
        """Of a backup that was read to its end, and is whole."""

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every row with the name of its table; all of one table before the next.

        Raises:
            InvalidBackup: It is not whole, was changed, or is not as its first line says.
        """
        for name, table in self.head.tables.items():
            if self._next() != {"table": name}:
                raise InvalidBackup(_ORDER)
            codec, digest = Codec(table.columns), hashlib.sha256()
            for _ in range(table.rows):
                line = self._line()
                digest.update(line)
                yield name, codec.decode(values_of(line))
            self._digests[name] = digest.hexdigest()

    def messages(self) -> Iterator[dict[str, Any]]:
        """What waited in mailboxes, after all rows; at its end the backup was whole.

        Raises:
            InvalidBackup: It is not whole, was changed, or is not as its first line says.
        """
        count = 0
        while True:
            before = self._digest.hexdigest()
            value = self._next()
            message = value.get("message") if isinstance(value, dict) else None
            if not (self.head.mailboxes and isinstance(message, dict)):
                break
            count += 1
            yield message
        ending = read_ending(value)
        if (ending.sha256, ending.digests, ending.messages) != (before, self._digests, count):
            raise InvalidBackup("the backup is not what was written: its digests do not fit")
        if next(self._lines, None) is not None:
            raise InvalidBackup(_ORDER)
        self.ending = ending

    def finish(self) -> None:
        """Read past the messages to the end; the same errors."""
        for _ in self.messages():
            pass

    def _line(self) -> bytes:
        line = next(self._lines, None)
        if line is None:
            raise InvalidBackup("the backup ends too early: it was not written to its end")
        self._digest.update(line)
        return line

    def _next(self) -> Any:
        return values_of(self._line())


def _keys(value: Any, count: int) -> list[bytes]:
    texts = value.get("master_keys") if isinstance(value, dict) else None
    if not isinstance(texts, list) or len(texts) != count or count > _MOST_KEYS:
        raise InvalidBackup(_ORDER)
    try:
        keys = [base64.b64decode(text, validate=True) for text in texts]
    except (TypeError, ValueError, binascii.Error):
        raise InvalidBackup(_ORDER) from None
    if any(len(key) != _KEY_BYTES for key in keys):
        raise InvalidBackup(_ORDER)
    return keys
