"""Names in subjects: usernames, their one-token encoding, and the subjects built from it.

    token("alice.smith+x@example.com")      # 'alice%2Esmith+x@example%2Ecom'
    Request("alice", "bob", "chat").text    # 'requests.alice.bob.chat'

Names go in raw and come out raw; only ``text`` is encoded. The contract's section 1 is the
source; NATS subject rules: https://docs.nats.io/nats-concepts/subjects.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, Self

from authsvc.errors import InvalidName, InvalidSubject

__all__ = [
    "Request",
    "Response",
    "all_valid",
    "app_name",
    "covers",
    "inbox_prefix",
    "matches",
    "overlaps",
    "token",
    "untoken",
    "username",
    "validate",
]

MAX_NAME_BYTES = 254
MAX_TOKEN_BYTES = 160
MAX_APP_BYTES = 64
STORED = "stored"

_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-@+ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ENCODED = [chr(b) if b in _SAFE else f"%{b:02X}" for b in range(256)]
_PLAIN = re.compile(r"[A-Za-z0-9_\-@+]*\Z")
_DOTTED = re.compile(r"[A-Za-z0-9_\-@+.]*\Z")
_TOKEN = re.compile(rb"(?:[A-Za-z0-9_\-@+]|%[0-9A-F]{2})+\Z")
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
# Possessive: what a token or a subject ends with never belongs to it, so nothing is tried again.
_ONE = r"(?:(?:[^\x00-\x20\x7f.*>]++|\*)\.)*+(?:[^\x00-\x20\x7f.*>]++|[*>])"
_SUBJECT = re.compile(_ONE + r"\Z")
_SUBJECTS = re.compile(f"(?:{_ONE}\n)*+\\Z")
_VISIBLE_ASCII = re.compile(r"[!-~]+\Z")
_REQUEST_ID = re.compile(r"[0-9a-f]{32}\Z")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _canonical(name: str, what: str, limit: int) -> str:
    form = name.strip(" ").translate(_ASCII_LOWER)
    if not form:
        raise InvalidName(f"the {what} is empty")
    if not _VISIBLE_ASCII.match(form):
        _check_unicode(form, what)
    size = len(form.encode())
    if size > limit:
        raise InvalidName(f"the {what} has {size} bytes, {limit} at most")
    return form


def _check_unicode(form: str, what: str) -> None:
    for char in form:
        if unicodedata.category(char)[0] in "CZ":
            raise InvalidName(f"the {what} contains U+{ord(char):04X}, which is not allowed in it")
    if unicodedata.normalize("NFC", unicodedata.normalize("NFC", form).lower()) != form:
        raise InvalidName(f"the {what} is not in its normal form (NFC and lower case)")


def username(name: str, *, email: bool = False) -> str:
    """The canonical form of a username.

    Args:
        name: As the login method proved it.
        email: Whether the login method proves e-mails, which need an ``@``.

    Raises:
        InvalidName: The contract refuses it; the message says why.
    """
    form = _canonical(name, "username", MAX_NAME_BYTES)
    if email and "@" not in form:
        raise InvalidName("the username is no e-mail address: it has no @")
    size = len(token(form))
    if size > MAX_TOKEN_BYTES:
        raise InvalidName(
            f"the username takes {size} bytes in a subject, {MAX_TOKEN_BYTES} at most"
        )
    return form


def app_name(name: str) -> str:
    """The canonical form of an app's name: 1 to 64 bytes.

    Raises:
        InvalidName: The contract refuses it; the message says why.
    """
    return _canonical(name, "app name", MAX_APP_BYTES)


def token(name: str) -> str:
    """One NATS token for a name: RFC 3986 percent-encoding of its UTF-8 bytes.

    Injective, and legal in stream and consumer names.

    Raises:
        InvalidName: The name is empty or holds a lone surrogate.
    """
    if not name:
        raise InvalidName("an empty name has no token")
    if _PLAIN.match(name):
        return name
    if _DOTTED.match(name):  # what most names are
        return name.replace(".", "%2E")
    try:
        return "".join([_ENCODED[byte] for byte in name.encode()])
    except UnicodeEncodeError as error:
        raise InvalidName("the name holds a lone surrogate") from error


def untoken(text: str) -> str:
    """The name behind a token.

    Raises:
        InvalidSubject: It is no token that ``token`` makes.
    """
    try:
        raw = text.encode("ascii")
        if not _TOKEN.match(raw):
            raise InvalidSubject(f"{text!r} is not an encoded name")
        name = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), raw).decode()
    except UnicodeError as error:
        raise InvalidSubject(f"{text!r} is not an encoded name") from error
    if token(name) != text:
        raise InvalidSubject(f"{text!r} is not how its name is encoded")
    return name


class Request(NamedTuple):
    """``requests.{requester}.{responder}.{app}``, with ``.stored`` where JetStream keeps it."""

    requester: str
    responder: str
    app: str
    stored: bool = False

    @property
    def text(self) -> str:
        """The subject."""
        end = ".stored" if self.stored else ""
        return f"requests.{token(self.requester)}.{token(self.responder)}.{token(self.app)}{end}"

    @classmethod
    def parse(cls, subject: str) -> Self:
        """Read a concrete request subject.

        Raises:
            InvalidSubject: It is none.
        """
        kind, *parts = subject.split(".")
        if kind != "requests":
            raise InvalidSubject(f"{subject!r} is not a request subject")
        names, stored = _names(subject, parts, 3)
        return cls(untoken(names[0]), untoken(names[1]), untoken(names[2]), stored)

    def response(self, request_id: str) -> Response:
        """The subject on which the answer to this request belongs."""
        return Response(self.requester, self.responder, self.app, request_id, self.stored)


class Response(NamedTuple):
    """``responses.{requester}.{responder}.{app}.{request_id}``, with ``.stored`` if kept."""

    requester: str
    responder: str
    app: str
    request_id: str
    stored: bool = False

    @property
    def text(self) -> str:
        """The subject.

        Raises:
            InvalidSubject: The request id is not 32 lower-case hex digits.
        """
        if not _REQUEST_ID.match(self.request_id):
            raise InvalidSubject("a request id is 32 lower-case hex digits")
        end = ".stored" if self.stored else ""
        names = f"{token(self.requester)}.{token(self.responder)}.{token(self.app)}"
        return f"responses.{names}.{self.request_id}{end}"

    @classmethod
    def parse(cls, subject: str) -> Self:
        """Read a concrete response subject.

        Raises:
            InvalidSubject: It is none.
        """
        kind, *parts = subject.split(".")
        if kind != "responses":
            raise InvalidSubject(f"{subject!r} is not a response subject")
        names, stored = _names(subject, parts, 4)
        if not _REQUEST_ID.match(names[3]):
            raise InvalidSubject(f"{subject!r} has no request id")
        return cls(untoken(names[0]), untoken(names[1]), untoken(names[2]), names[3], stored)


def _names(subject: str, parts: list[str], count: int) -> tuple[list[str], bool]:
    stored = len(parts) == count + 1 and parts[-1] == STORED
    if len(parts) != count + stored:
        raise InvalidSubject(f"{subject!r} has the wrong number of tokens")
    return parts[:count], stored


def inbox_prefix(name: str) -> str:
    """Where this user's replies arrive: ``_INBOX.{token}``."""
    return f"_INBOX.{token(name)}"


def validate(subject: str, *, wildcards: bool = True) -> str:
    """The subject itself, if nats-server would take it.

    Raises:
        InvalidSubject: An empty token, white space, a control character, or a wildcard out of
            place.
    """
    if wildcards and _SUBJECT.match(subject):
        return subject
    if any(char <= " " or char == "\x7f" for char in subject):
        raise InvalidSubject(f"{subject!r} holds white space or a control character")
    tokens = subject.split(".")
    for place, part in enumerate(tokens):
        if not part:
            raise InvalidSubject(f"{subject!r} has an empty token")
        if part in {"*", ">"}:
            if not wildcards:
                raise InvalidSubject(f"{subject!r} holds a wildcard")
            if part == ">" and place != len(tokens) - 1:
                raise InvalidSubject(f"{subject!r} has '>' before its end")
    return subject


def all_valid(subjects: Sequence[str]) -> bool:
    """Whether nats-server would take each of the subjects, wildcards allowed."""
    text = "\n".join((*subjects, ""))
    # The usual ones all at once; a line feed in a subject would make two of it.
    if text.count("\n") == len(subjects) and _SUBJECTS.match(text):
        return True
    try:
        for subject in subjects:
            validate(subject)
    except InvalidSubject:
        return False
    return True


def matches(pattern: str, subject: str) -> bool:
    """Whether a message on the concrete subject reaches a subscription of the pattern."""
    return covers(pattern, validate(subject, wildcards=False))


def covers(pattern: str, other: str) -> bool:
    """Whether everything that ``other`` matches is matched by ``pattern`` too."""
    left, right = validate(pattern).split("."), validate(other).split(".")
    for place, part in enumerate(left):
        if part == ">":
            return len(right) > place
        if place >= len(right) or right[place] == ">":
            return False
        if part not in {"*", right[place]}:
            return False
    return len(left) == len(right)


def overlaps(pattern: str, other: str) -> bool:
    """Whether some subject is matched by both patterns."""
    left, right = validate(pattern).split("."), validate(other).split(".")
    for one, two in zip(left, right, strict=False):
        if ">" in {one, two}:
            return True
        if one != two and "*" not in {one, two}:
            return False
    return len(left) == len(right)
