"""Signed chunks: each one's signature covers its place and all that came before it. No I/O.

The beginning, an ``open`` or a ``head``, is signed as every message is. A chunk after it has its
signature in its line, and what is signed is

    AUTHSVC/1 signature <subject>
    AUTHSVC/1 chunk <id> <offset> <more|last> <previous> <content>

and an empty line, where ``content`` is the SHA-256, in hex, of the chunk's bytes, and ``previous``
that of the whole beginning, or of what was signed of the chunk before. So nothing can be left
out, put elsewhere, changed, or taken from another body, and no body ends before its last chunk.
See docs/wire.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from authsvc.nkey import KeyPair, PublicKey
from authsvc.rpc._wire.chunks import ChunkFrame
from authsvc.rpc._wire.signing import signed_text

__all__ = ["Chain", "Sealing", "Unsealing"]

_MAX_HELD = 1024
_MAX_RIVALS = 4


class Chain:
    """What the next chunk of one body is tied to.

    Args:
        subject: Where the chunks are published.
        request_id: The request's id.
        beginning: The signed message that the chunks follow.
    """

    def __init__(self, subject: str, request_id: str, beginning: bytes) -> None:
        self._subject = subject
        self._id = request_id.encode("ascii")
        self._previous = _digest(beginning)

    def text(self, offset: int, content: bytes, *, last: bool) -> bytes:
        """What is signed of the chunk that comes next."""
        flag = b"last" if last else b"more"
        line = self._id, offset, flag, self._previous, _digest(content)
        return signed_text(self._subject, b"AUTHSVC/1 chunk %b %d %b %b %b\r\n\r\n" % line)

    def follow(self, text: bytes) -> None:
        """Another chunk comes next; this was signed of the one before."""
        self._previous = _digest(text)


class Sealing(Chain):
    """Signs the chunks of a body, which leave in their order."""

    def signature(self, key: KeyPair, offset: int, content: bytes, *, last: bool) -> bytes:
        """The signature of the chunk that comes next."""
        text = self.text(offset, content, last=last)
        self.follow(text)
        return key.sign(text)


class Unsealing(Chain):
    """Checks the chunks of a body, which may come in any order, and more than once.

    ``refused`` counts those that were not signed, or not at their place.

    Args:
        subject: Where the chunks are published.
        request_id: The request's id.
        beginning: The signed message that the chunks follow.
        key: Who signed that.
        offset: How many bytes of the body were in it.
    """

    def __init__(
        self, subject: str, request_id: str, beginning: bytes, key: PublicKey, offset: int
    ) -> None:
        super().__init__(subject, request_id, beginning)
        self.refused = 0
        self._key = key
        self._next = offset
        self._complete = False
        self._held: dict[int, list[ChunkFrame]] = {}

    def take(self, frame: ChunkFrame) -> Iterator[ChunkFrame]:
        """The chunks that may be handed on now, in their order."""
        if self._complete or frame.offset < self._next:
            return  # a renewed connection brings it twice
        rivals = self._held.setdefault(frame.offset, [])
        if frame in rivals:
            return
        if not frame.signature or len(rivals) >= _MAX_RIVALS or len(self._held) > _MAX_HELD:
            self.refused += 1
            if not rivals:
                del self._held[frame.offset]
            return
        rivals.append(frame)
        while (found := self._signed()) is not None:
            yield found

    def _signed(self) -> ChunkFrame | None:
        """The chunk that comes next, if it is here; others in its place are dropped."""
        for frame in self._held.pop(self._next, ()):
            text = self.text(frame.offset, frame.content, last=frame.last)
            if self._key.verify(text, frame.signature):
                self.follow(text)
                self._next += len(frame.content)
                self._complete = frame.last
                if frame.last:
                    self._held.clear()
                return frame
            self.refused += 1
        return None


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")
