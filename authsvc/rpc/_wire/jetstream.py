"""What JetStream and its users say to each other: subjects and bodies, without I/O.

Everything is read as if somebody else had made nats-server send it, because that is what a reply
subject allows: each reader demands the name of the stream, and the subject, that was asked for.

Sources: https://docs.nats.io/reference/reference-protocols/nats_api_reference (pulls, publish
acknowledgements, STREAM.MSG.GET); nats-server's ADR-13 (pulls), ADR-15 and ADR-42 (ack subjects).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

import orjson

from authsvc.errors import InvalidMessage

__all__ = [
    "ACK",
    "NOBODY",
    "PROGRESS",
    "TERM",
    "AckReader",
    "Delivered",
    "Nobody",
    "Refusal",
    "Status",
    "Stored",
    "nak",
    "next_subject",
    "pull_body",
    "read_body",
    "read_message",
    "read_receipt",
    "read_status",
    "read_subject",
    "stream_names",
]

API = "$JS.mail.API"
"""Where people find the two JetStream services that they may use."""

ACK, PROGRESS, TERM = b"+ACK", b"+WPI", b"+TERM"

_NS = 1_000_000_000
_NUMBER = rb"(0|[1-9][0-9]{0,19})"
_STATUS = re.compile(rb"NATS/1\.0 ([1-5][0-9]{2})(?: ([^\r\n]*))?\r\n")
_PENDING = re.compile(rb"\r\nNats-Pending-Messages: ([0-9]{1,9})\r\n")


class Nobody:
    """Nobody answers: there is no such stream, nor consumer."""


NOBODY = Nobody()


class Stored(NamedTuple):
    """JetStream has it on disk."""

    sequence: int
    duplicate: bool


class Refusal(NamedTuple):
    """JetStream refuses.

    Args:
        code: HTTP-shaped.
        error: JetStream's own number, such as 10077.
        text: Why, in nats-server's words.
    """

    code: int
    error: int
    text: str


class Status(NamedTuple):
    """A message without a body, by which nats-server tells how a pull goes."""

    code: int
    text: str
    pending: int


class Delivered(NamedTuple):
    """What an ack subject tells.

    Args:
        times: How often it was delivered, this time included.
        sequence: Its number in the stream.
        stored_at: When it was stored, in ns since the epoch by nats-server's clock.
        number: Its number among all deliveries of the consumer.
    """

    times: int
    sequence: int
    stored_at: int
    number: int


class AckReader:
    """Reads the ack subjects of one consumer, in both of nats-server's formats.

    Args:
        stream: The stream's name.
        consumer: The consumer's.
    """

    def __init__(self, stream: str, consumer: str) -> None:
        names = re.escape(f"{stream}.{consumer}").encode("ascii")
        # The second format has the domain (none: `_`) and a hash of the account in front, and
        # may have more behind.
        self._pattern = re.compile(
            rb"\$JS\.ACK\.(?:_\.[A-Za-z0-9_-]{1,64}\." + names + rb"(?=(?:\.[^.\s]+){5,6}\Z)|"
            + names + rb"(?=(?:\.[^.\s]+){5}\Z))"
            rb"\." + rb"\.".join([_NUMBER] * 5) + rb"(?:\.[A-Za-z0-9_-]{1,64})?"
        )  # fmt: skip

    def read(self, subject: bytes) -> Delivered:
        """Read one.

        Raises:
            InvalidMessage: It is none, or another stream's or consumer's.
        """
        match = self._pattern.fullmatch(subject)
        if match is None:
            raise InvalidMessage("not an ack subject of this consumer")
        return Delivered(int(match[1]), int(match[2]), int(match[4]), int(match[3]))


def stream_names(token: str) -> tuple[str, str]:
    """The names of a user's two streams: requests and responses."""
    return f"requests_{token}", f"responses_{token}"


def next_subject(stream: str, consumer: str) -> str:
    """Where a consumer's messages are asked for."""
    return f"{API}.CONSUMER.MSG.NEXT.{stream}.{consumer}"


def read_subject(stream: str) -> str:
    """Where a stream's messages are read."""
    return f"{API}.STREAM.MSG.GET.{stream}"


def pull_body(batch: int, *, expires: float, heartbeat: float, max_bytes: int = 0) -> bytes:
    """A request for messages.

    Args:
        batch: How many.
        expires: Seconds that it may wait for them.
        heartbeat: Seconds after which nats-server tells that it is still there.
        max_bytes: All of them together; 0 for any.
    """
    body = {
        "batch": batch,
        "expires": int(expires * _NS),
        "idle_heartbeat": int(heartbeat * _NS),
    }
    if max_bytes:
        body["max_bytes"] = max_bytes
    return orjson.dumps(body)


def read_body(subject: str) -> bytes:
    """A request for the message of exactly this subject."""
    return orjson.dumps({"last_by_subj": subject})


def nak(delay: float) -> bytes:
    """Not handled: to be delivered again after so many seconds."""
    return b"-NAK" if delay <= 0 else b'-NAK {"delay":%d}' % int(delay * _NS)


def read_status(data: bytes, headers: bytes | None) -> Status:
    """Read a status.

    Raises:
        InvalidMessage: It is none.
    """
    match = _STATUS.match(headers) if headers is not None and not data else None
    if match is None or headers is None:
        raise InvalidMessage("not a status of nats-server")
    pending = _PENDING.search(headers)
    text = (match[2] or b"").decode("ascii", "replace")
    return Status(int(match[1]), text, int(pending[1]) if pending else 0)


def read_receipt(stream: str, data: bytes, headers: bytes | None) -> Stored | Refusal | Nobody:
    """Read what answers a publish into a stream.

    Args:
        stream: The stream that the message must be in.
        data: The payload.
        headers: Raw NATS headers.

    Raises:
        InvalidMessage: It is no receipt, or another stream's.
    """
    if headers is not None:
        return _nobody(data, headers)
    body = _object(data)
    if "error" in body:
        return _refusal(body["error"])
    sequence = body.get("seq")
    if body.get("stream") != stream or type(sequence) is not int or sequence < 1:
        raise InvalidMessage("a receipt of another stream")
    return Stored(sequence, body.get("duplicate") is True)


def read_message(subject: str, data: bytes, headers: bytes | None) -> bytes | Refusal | Nobody:
    """Read the answer to ``read_body``: the payload of the message.

    Args:
        subject: The message's.
        data: The payload of the answer.
        headers: Raw NATS headers.

    Raises:
        InvalidMessage: It is no such answer, or another subject's.
    """
    if headers is not None:
        return _nobody(data, headers)
    body = _object(data)
    if "error" in body:
        return _refusal(body["error"])
    message = body.get("message")
    if not isinstance(message, dict) or message.get("subject") != subject:
        raise InvalidMessage("a message of another subject")
    try:
        return base64.b64decode(message.get("data", ""), validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidMessage("a message that is not base64") from error


def _nobody(data: bytes, headers: bytes) -> Nobody:
    if read_status(data, headers).code == 503:  # noqa: PLR2004  no responders
        return NOBODY
    raise InvalidMessage("a status that says nothing here")


def _object(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except ValueError as error:
        raise InvalidMessage("not an answer of JetStream") from error
    if not isinstance(body, dict):
        raise InvalidMessage("not an answer of JetStream")
    return body


def _refusal(error: object) -> Refusal:
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        raise InvalidMessage("not an error of JetStream")
    number, text = error.get("err_code"), error.get("description")
    return Refusal(
        error["code"],
        number if type(number) is int else 0,
        text if isinstance(text, str) else "no reason given",
    )
