"""Curve keys (xkeys, X...): NATS keys that encrypt and sign nothing.

    sealed = mine.seal(b"text", theirs.public)
    theirs.open(sealed, mine.public)

Source: https://github.com/nats-io/nkeys (xkeys.go).
"""

from __future__ import annotations

from typing import Self

from nacl import public
from nacl.bindings import randombytes
from nacl.exceptions import CryptoError

from authsvc.errors import InvalidInput, InvalidKey
from authsvc.nkey import decode_text, encode_payload

__all__ = ["CurveKey"]

_PREFIX = bytes([23 << 3])
_SEED_PREFIX = bytes([18 << 3 | _PREFIX[0] >> 5, (_PREFIX[0] & 0x1F) << 3])
_PUBLIC_CHARS, _SEED_CHARS = 56, 58
_RAW_BYTES = 32
_SEALED = b"xkv1"
_NONCE_BYTES = 24


class CurveKey:
    """A private curve key (xkey): what is sealed for its public key, only it can open.

    Sealing is NaCl's box (X25519, XSalsa20, Poly1305) between two keys, so whoever opens knows
    that one of the two sealed. Its seed leaves only through ``seed``.
    """

    def __init__(self, raw_seed: bytes) -> None:
        if len(raw_seed) != _RAW_BYTES:
            raise InvalidKey(f"a curve key's seed has 32 bytes, not {len(raw_seed)}")
        self._key = public.PrivateKey(raw_seed)
        self.public = encode_payload(_PREFIX + bytes(self._key.public_key))

    @classmethod
    def generate(cls) -> Self:
        """A new key from the operating system's randomness."""
        return cls(randombytes(_RAW_BYTES))

    @classmethod
    def from_seed(cls, seed: str | bytes) -> Self:
        """Read a seed.

        Args:
            seed: 58 characters, ``SX...``.

        Raises:
            InvalidKey: It is not the seed of a curve key; the message never shows it.
        """
        payload = decode_text(seed, _SEED_CHARS)
        if payload[:2] != _SEED_PREFIX:
            raise InvalidKey("not the seed of a curve key: it must begin with SX")
        return cls(payload[2:])

    @property
    def seed(self) -> str:
        """The seed's text. Whoever has it can open what is sealed for this key."""
        return encode_payload(_SEED_PREFIX + bytes(self._key))

    def seal(self, plain: bytes, recipient: str) -> bytes:
        """Encrypt.

        Args:
            plain: What to encrypt.
            recipient: The public curve key (X...) of who may open it.

        Raises:
            InvalidKey: The recipient is no curve key.
        """
        nonce = randombytes(_NONCE_BYTES)
        return _SEALED + bytes(self._box(recipient).encrypt(plain, nonce))

    def open(self, sealed: bytes, sender: str) -> bytes:
        """Decrypt what ``seal`` made for this key.

        Args:
            sealed: ``xkv1``, a nonce of 24 bytes, the box.
            sender: The public curve key (X...) of who sealed it.

        Raises:
            InvalidKey: The sender is no curve key.
            InvalidInput: It was not sealed by the sender for this key, or was changed.
        """
        if not sealed.startswith(_SEALED):
            raise InvalidInput("not sealed: it does not begin with xkv1")
        box = self._box(sender)
        try:
            return box.decrypt(sealed[len(_SEALED) :])
        except (CryptoError, ValueError):
            raise InvalidInput("sealed for another key, by another key, or changed") from None

    def _box(self, other: str) -> public.Box:
        payload = decode_text(other, _PUBLIC_CHARS)
        if payload[:1] != _PREFIX:
            raise InvalidKey("a curve key (X...) is needed")
        try:
            return public.Box(self._key, public.PublicKey(payload[1:]))
        except CryptoError:
            raise InvalidKey("a curve key of small order keeps nothing secret") from None

    def __repr__(self) -> str:
        return f"CurveKey({self.public})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a CurveKey can't be pickled; store its seed where secrets are kept")
