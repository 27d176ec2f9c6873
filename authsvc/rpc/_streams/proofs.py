"""A response in chunks where only signed ones count: what its responder signed, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from authsvc.errors import InvalidMessage
from authsvc.rpc._calls.calls import ClientStats
from authsvc.rpc._session.trust import Trust, Untrusted
from authsvc.rpc._wire.chain import Unsealing
from authsvc.rpc._wire.chunks import ChunkFrame, HeadFrame, encode_head
from authsvc.rpc._wire.signing import signature_of, signed_text

__all__ = ["Proof"]

_MOST_UNPROVEN = 256


class Proof:
    """What is known of the signatures of one response.

    Args:
        subject: The response's subject.
        request_id: The request's id.
        trust: Whose signatures count.
        stats: What is counted.
    """

    __slots__ = ("_id", "_looking", "_stats", "_subject", "_trust", "_unproven", "_unsealing")

    def __init__(self, subject: str, request_id: str, trust: Trust, stats: ClientStats) -> None:
        self._subject = subject
        self._id = request_id
        self._trust = trust
        self._stats = stats
        self._unsealing: Unsealing | None = None
        self._unproven: list[ChunkFrame] = []
        self._looking: asyncio.Task[None] | None = None

    def begins(self, frame: HeadFrame, data: bytes, take: Callable[[bytes], object]) -> bool:
        """Whether a head is signed by the responder.

        Args:
            frame: The head.
            data: The message that it came in.
            take: Takes the message again, once it is known who signs for the responder.
        """
        if self._unsealing is not None:
            return False  # a renewed connection brings it twice
        try:
            _, signature = signature_of(frame.headers)
            bare = encode_head(frame._replace(headers=frame.headers[:-1]))
            text = signed_text(self._subject, bare)
            self._trust.check(self._subject, frame.headers, text, signature)
        except InvalidMessage:
            self._stats.unsigned += 1
            return False
        except Untrusted as refusal:
            if not refusal.unknown or asyncio.current_task() is self._looking:
                self._stats.unsigned += 1
            elif self._looking is None:
                self._looking = asyncio.create_task(self._look(data, take))
            return False
        key = self._trust.key_of(frame.headers)
        self._unsealing = Unsealing(self._subject, self._id, data, key, len(frame.content))
        return True

    async def _look(self, data: bytes, take: Callable[[bytes], object]) -> None:
        await self._trust.look()
        take(data)

    def early(self) -> Iterable[ChunkFrame]:
        """The chunks that came before the head, to be taken again after it."""
        early, self._unproven = self._unproven, []
        return early

    def proven(self, frame: ChunkFrame) -> Iterable[ChunkFrame]:
        """The chunks that count now that this one came."""
        if self._unsealing is None:
            if len(self._unproven) < _MOST_UNPROVEN:
                self._unproven.append(frame)
            return ()
        before = self._unsealing.refused
        found = list(self._unsealing.take(frame))
        self._stats.unsigned += self._unsealing.refused - before
        return found
