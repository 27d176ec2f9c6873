"""What JetStream keeps for people, in memory: requests until they are answered, and answers.

It speaks as nats-server does to who may only pull, acknowledge and read: see _jetstream. An app
is kept for from the first time that it asks for what waits. There are no limits and no expiry
here, and what somebody had in hand who leaves is handed out again at once.

Sources: https://docs.nats.io/reference/reference-protocols/nats_api_reference (pulls, publish
acknowledgements, STREAM.MSG.GET); nats-server's ADR-15 (ack subjects).
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from authsvc.rpc._wire.jetstream import ACK, API, TERM, stream_names

__all__ = ["Mail"]

_NS = 1_000_000_000
_MISSING = {"code": 404, "err_code": 10037, "description": "no message found"}

Hear = Callable[[str, str, bytes], None]
"""Hands a message to who pulls: subject, ack subject, payload."""


@dataclass(eq=False, slots=True)
class _Kept:
    """A request that waits, or that somebody has in hand."""

    sequence: int
    subject: str
    payload: bytes
    stored_at: int
    times: int = 0
    holder: Any = None


@dataclass(eq=False, slots=True)
class _Pull:
    """Somebody asks for so many."""

    holder: Any
    hear: Hear
    left: int
    until: float


@dataclass(eq=False, slots=True)
class _Consumer:
    """The requests of one app."""

    stream: str
    name: str
    waiting: deque[_Kept] = field(default_factory=deque)
    in_hand: dict[int, _Kept] = field(default_factory=dict)
    pulls: deque[_Pull] = field(default_factory=deque)
    known: dict[str, int] = field(default_factory=dict)
    last: int = 0
    deliveries: int = 0

    def hand_out(self) -> None:
        """Give what waits to who asked first."""
        now = time.monotonic()
        while self.waiting and self.pulls:
            pull = self.pulls[0]
            if pull.left < 1 or pull.until < now:
                self.pulls.popleft()
                continue
            kept = self.waiting.popleft()
            pull.left -= 1
            kept.times += 1
            kept.holder = pull.holder
            self.in_hand[kept.sequence] = kept
            self.deliveries += 1
            numbers = (
                *(kept.times, kept.sequence, self.deliveries, kept.stored_at),
                len(self.waiting),
            )
            pull.hear(
                kept.subject,
                f"$JS.ACK.{self.stream}.{self.name}." + ".".join(map(str, numbers)),
                kept.payload,
            )

    def again(self, kept: _Kept) -> None:
        """Hand it out again."""
        self.waiting.append(kept)
        self.hand_out()


class Mail:
    """The mailboxes of everybody on a board."""

    def __init__(self) -> None:
        self._consumers: dict[tuple[str, str], _Consumer] = {}
        self._answers: dict[str, tuple[int, bytes]] = {}

    def store(self, subject: str, message_id: str, payload: bytes) -> bytes | None:
        """Keep a message; the receipt, or None where nobody keeps it."""
        kind, requester, responder, app, *_ = subject.split(".")
        if kind == "responses":
            sequence = len(self._answers) + 1
            self._answers[subject] = (sequence, payload)
            return orjson.dumps({"stream": stream_names(requester)[1], "seq": sequence})
        consumer = self._consumers.get((stream_names(responder)[0], app))
        if consumer is None:
            return None
        sequence = consumer.known.get(message_id, 0)
        twice = sequence > 0
        if not twice:
            sequence = consumer.last = consumer.known[message_id] = consumer.last + 1
            consumer.waiting.append(_Kept(sequence, subject, payload, time.time_ns()))
            consumer.hand_out()
        return orjson.dumps({"stream": consumer.stream, "seq": sequence, "duplicate": twice})

    def api(self, subject: str, payload: bytes, holder: Any, hear: Hear) -> bytes | None:
        """Take a question or an acknowledgement; what answers it at once, if anything does."""
        if subject.startswith(f"{API}.CONSUMER.MSG.NEXT."):
            self._pull(subject.split(".")[-2:], orjson.loads(payload), holder, hear)
        elif subject.startswith(f"{API}.STREAM.MSG.GET."):
            return self._read(orjson.loads(payload)["last_by_subj"])
        elif subject.startswith("$JS.ACK."):
            _, _, stream, name, _, sequence, *_ = subject.split(".")
            self._acknowledged(stream, name, int(sequence), payload)
        return None

    def leave(self, holder: Any) -> None:
        """Somebody's connection ended."""
        for consumer in self._consumers.values():
            consumer.pulls = deque(pull for pull in consumer.pulls if pull.holder is not holder)
            for kept in [kept for kept in consumer.in_hand.values() if kept.holder is holder]:
                consumer.again(consumer.in_hand.pop(kept.sequence))

    def _pull(self, names: list[str], body: dict[str, Any], holder: Any, hear: Hear) -> None:
        stream, name = names
        consumer = self._consumers.setdefault((stream, name), _Consumer(stream, name))
        until = time.monotonic() + body["expires"] / _NS
        consumer.pulls.append(_Pull(holder, hear, body["batch"], until))
        consumer.hand_out()

    def _read(self, subject: str) -> bytes:
        found = self._answers.get(subject)
        if found is None:
            return orjson.dumps({"error": _MISSING})
        sequence, payload = found
        data = base64.b64encode(payload).decode("ascii")
        return orjson.dumps({"message": {"subject": subject, "seq": sequence, "data": data}})

    def _acknowledged(self, stream: str, name: str, sequence: int, payload: bytes) -> None:
        consumer = self._consumers[stream, name]
        if payload in {ACK, TERM}:
            consumer.in_hand.pop(sequence, None)
        elif payload.startswith(b"-NAK") and sequence in consumer.in_hand:
            kept = consumer.in_hand.pop(sequence)
            delay = orjson.loads(payload[4:])["delay"] / _NS if payload[4:] else 0.0
            asyncio.get_running_loop().call_later(delay, consumer.again, kept)
