"""Who may open a backup: whoever knows a passphrase, or holds one of some keys.

A stanza is an entry of an age file's header: the file's key, wrapped for one of them.

Source: https://github.com/C2SP/C2SP/blob/main/age.md; RFC 7914 (scrypt), RFC 7748 (X25519).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from authsvc.errors import InvalidBackup, InvalidKey
from authsvc.server.backup import bech32

__all__ = ["Identity", "Opener", "Passphrase", "Recipient", "Sealer", "Stanza", "b64", "hkdf"]

WORK = 18
"""log2 of scrypt's N: about a second, and 256 MiB."""
MOST_WORK = 22
"""Of a file that is opened: 16 s and 4 GiB; what asks for more is refused."""
_LABEL_SCRYPT = b"age-encryption.org/v1/scrypt"
_LABEL_X25519 = b"age-encryption.org/v1/X25519"
_ZERO_NONCE = bytes(12)
_SALT_BYTES, _POINT_BYTES, _BODY_BYTES = 16, 32, 32


class Stanza(NamedTuple):
    """One wrapped file key."""

    arguments: tuple[str, ...]
    """Its kind first."""
    body: bytes


class Sealer(Protocol):
    """Whom a file is made for."""

    def wrap(self, file_key: bytes) -> Stanza:
        """The file's key for them alone."""


class Opener(Protocol):
    """What may open a file."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file's key, or None where it is not for this one.

        Raises:
            InvalidBackup: The file asks for what can't be done.
        """


@dataclass(frozen=True, slots=True)
class Passphrase:
    """Seals and opens by a passphrase.

    Args:
        text: Any.
        work: log2 of scrypt's N; ``WORK`` if None.
    """

    text: str
    work: int | None = None

    def __repr__(self) -> str:
        return "Passphrase(...)"

    def wrap(self, file_key: bytes) -> Stanza:
        """The file's key under the passphrase, with a salt of its own."""
        salt = os.urandom(_SALT_BYTES)
        work = self.work or WORK
        body = ChaCha20Poly1305(self._key(salt, work)).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza(("scrypt", b64(salt), str(work)), body)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file's key, where the passphrase is the right one."""
        if len(stanzas) != 1 or stanzas[0].arguments[0] != "scrypt":
            return None
        stanza = stanzas[0]
        match stanza.arguments[1:]:
            case (salt_text, work) if work.isascii() and work.isdigit() and work[0] != "0":
                salt = unb64(salt_text)
            case _:
                raise InvalidBackup("the file's header is not as it was written")
        if len(salt) != _SALT_BYTES or len(work) > 2 or int(work) > MOST_WORK:  # noqa: PLR2004
            raise InvalidBackup("the file asks for more work than a backup of authsvc's does")
        return _open(self._key(salt, int(work)), stanza.body)

    def _key(self, salt: bytes, work: int) -> bytes:
        kdf = Scrypt(salt=_LABEL_SCRYPT + salt, length=32, n=1 << work, r=8, p=1)
        return kdf.derive(self.text.encode())


@dataclass(frozen=True, slots=True)
class Recipient:
    """A public key, ``age1...``; its holder alone can open what is sealed to it."""

    point: bytes

    @classmethod
    def from_text(cls, text: str) -> Recipient:
        """Read ``age1...``.

        Raises:
            InvalidKey: It is none.
        """
        return cls(_point(bech32.decode("age", text)))

    @property
    def text(self) -> str:
        """``age1...``."""
        return bech32.encode("age", self.point)

    def wrap(self, file_key: bytes) -> Stanza:
        """The file's key for the holder of the private key."""
        once = X25519PrivateKey.generate()
        share = once.public_key().public_bytes_raw()
        secret = once.exchange(X25519PublicKey.from_public_bytes(self.point))
        key = hkdf(secret, share + self.point, _LABEL_X25519)
        body = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
        return Stanza(("X25519", b64(share)), body)


class Identity:
    """A private key, ``AGE-SECRET-KEY-1...``."""

    def __init__(self, secret: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(_point(secret))

    @classmethod
    def from_text(cls, text: str) -> Identity:
        """Read ``AGE-SECRET-KEY-1...``.

        Raises:
            InvalidKey: It is none.
        """
        return cls(bech32.decode("age-secret-key-", text))

    @property
    def recipient(self) -> Recipient:
        """Its public key."""
        return Recipient(self._key.public_key().public_bytes_raw())

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes | None:
        """The file's key, where one of the stanzas is for this key."""
        own = self.recipient.point
        for stanza in stanzas:
            if stanza.arguments[0] != "X25519":
                continue
            share = unb64(stanza.arguments[1]) if len(stanza.arguments) == 2 else b""  # noqa: PLR2004
            if len(share) != _POINT_BYTES:
                raise InvalidBackup("the file's header is not as it was written")
            try:
                secret = self._key.exchange(X25519PublicKey.from_public_bytes(share))
            except ValueError:
                raise InvalidBackup("the file's header is not as it was written") from None
            found = _open(hkdf(secret, share + own, _LABEL_X25519), stanza.body)
            if found is not None:
                return found
        return None


def _open(key: bytes, body: bytes) -> bytes | None:
    if len(body) != _BODY_BYTES:  # another length could be one that several keys open
        raise InvalidBackup("the file's header is not as it was written")
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, body, None)
    except InvalidTag:
        return None


def _point(data: bytes) -> bytes:
    if len(data) != _POINT_BYTES:
        raise InvalidKey("a key of age's has 32 bytes")
    return data


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """32 bytes by HKDF-SHA-256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def b64(data: bytes) -> str:
    """Base64 without padding, as age has it."""
    return base64.b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    """The bytes; only of the one spelling that they have.

    Raises:
        InvalidBackup: It is another.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if b64(data) != text:
        raise InvalidBackup("the file's header is not as it was written")
    return data
