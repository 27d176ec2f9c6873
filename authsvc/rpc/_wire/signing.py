"""Messages that their sender's nkey signs. No I/O, no clock; see docs/wire.md.

The last two headers of a signed message are

    authsvc-jwt: <the sender's user JWT>
    authsvc-signature: <base64url, without padding>

and what is signed is a first line of its own, which names the subject, and then the message
without the signature's line. No nonce of a server, proof of possession or JWT can be such a text:
none of them holds a space.
"""

from __future__ import annotations

import base64
import binascii
from typing import Protocol

from authsvc.errors import InvalidMessage
from authsvc.nkey import KeyPair
from authsvc.rpc._wire.frames import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    Pairs,
    call_line,
    request_bytes,
    response_bytes,
)

__all__ = [
    "Signer",
    "request_text",
    "response_text",
    "sealed",
    "signature_bytes",
    "signature_chars",
    "signature_of",
    "signed_text",
]

JWT = "authsvc-jwt"
SIGNATURE = "authsvc-signature"

_STORED = ".stored"
_SIGNATURE_CHARS = 86
_SIGNATURE_LINE_BYTES = len(SIGNATURE) + 2 + _SIGNATURE_CHARS + 2


class Signer(Protocol):
    """Whose message it is."""

    @property
    def jwt(self) -> str:
        """The user JWT."""

    @property
    def key(self) -> KeyPair:
        """The nkey it belongs to."""


def signed_text(subject: str, message: bytes) -> bytes:
    """What is signed.

    Args:
        subject: Where the message is published. A stored message is signed as the same live one.
        message: The message without the signature's line.
    """
    return b"AUTHSVC/1 signature %b\r\n%b" % (
        subject.removesuffix(_STORED).encode("ascii"),
        message,
    )


def sealed(message: bytes, subject: str, signer: Signer) -> bytes:
    """The message, signed.

    Args:
        message: A request or response of the wire format.
        subject: Where it is published.
        signer: Who sends it.

    Raises:
        InvalidMessage: Its headers leave no room, or have the signature's names.
    """
    end = message.index(b"\r\n\r\n")
    head, rest = message[:end], message[end:]
    lines = head.split(b"\r\n")[1:]
    if any(line.startswith((b"authsvc-jwt:", b"authsvc-signature:")) for line in lines):
        raise InvalidMessage(f"the headers {JWT} and {SIGNATURE} are the library's own")
    head += b"\r\nauthsvc-jwt: " + signer.jwt.encode("ascii")
    block = len(head) - head.index(b"\r\n") + _SIGNATURE_LINE_BYTES
    if len(lines) + 2 > MAX_HEADERS or block > MAX_HEAD_BYTES:
        raise InvalidMessage("the headers leave no room for the signature")
    made = signer.key.sign(signed_text(subject, head + rest))
    line = b"\r\nauthsvc-signature: " + signature_chars(made)
    return head + line + rest


def signature_of(pairs: Pairs) -> tuple[str, bytes]:
    """The JWT and the signature that a message carries.

    Raises:
        InvalidMessage: It carries none, or not in the one way there is.
    """
    if len(pairs) < 2 or (pairs[-2][0], pairs[-1][0]) != (JWT, SIGNATURE):  # noqa: PLR2004
        raise InvalidMessage("the message is not signed")
    if any(name in {JWT, SIGNATURE} for name, _ in pairs[:-2]):
        raise InvalidMessage("the message is signed twice")
    return pairs[-2][1], signature_bytes(pairs[-1][1].encode("latin-1"))


def signature_chars(signature: bytes) -> bytes:
    """A signature as it travels: base64url without padding."""
    return base64.urlsafe_b64encode(signature).rstrip(b"=")


def signature_bytes(text: bytes) -> bytes:
    """Read ``signature_chars``.

    Raises:
        InvalidMessage: It is not in the one spelling that there is.
    """
    try:
        signature = base64.urlsafe_b64decode(text + b"==")
    except (binascii.Error, ValueError) as error:
        raise InvalidMessage("the signature is no base64url") from error
    if signature_chars(signature) != text:
        raise InvalidMessage("the signature is no base64url")
    return signature


def request_text(  # noqa: PLR0917  the parts of a request
    subject: str,
    request_id: str,
    sent: int,
    deadline: int,
    method: str,
    target: str,
    pairs: Pairs,
    content: bytes,
) -> bytes:
    """What was signed of a request, from its parts; ``pairs`` hold the signature."""
    line = call_line(method, target)
    message = request_bytes(request_id, sent, deadline, line, pairs[:-1], content)
    return signed_text(subject, message)


def response_text(
    subject: str, request_id: str, status: int, pairs: Pairs, content: bytes
) -> bytes:
    """What was signed of a response, from its parts; ``pairs`` hold the signature."""
    return signed_text(subject, response_bytes(request_id, status, pairs[:-1], content))
