"""NATS keys: Ed25519 keys in the nkey spelling, each by its prefix and with its checksum checked.

    pair = KeyPair.generate(Prefix.USER)
    pair.public.text          # "UA..."
    PublicKey.parse(text, Prefix.USER).verify(message, signature)

The nkeys package accepts seeds with a wrong checksum, so every path in goes through
``decode_text`` here: alphabet, length, CRC-16 (XMODEM), prefix, and one spelling only.

Source: https://github.com/nats-io/nkeys (strkey.go, crc16.go).
"""

from __future__ import annotations

import binascii
from enum import IntEnum
from functools import cached_property, lru_cache
from typing import Self

import nkeys
from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_BYTES,
    crypto_sign_open,
    randombytes,
)
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from authsvc.errors import InvalidKey

__all__ = [
    "KeyPair",
    "Prefix",
    "PublicKey",
    "base32",
    "decode_text",
    "encode_payload",
    "is_curve_key",
]

_SEED = 18 << 3
_CURVE = 23 << 3
_RAW_BYTES = 32
_PUBLIC_CHARS = 56
_SEED_CHARS = 58
# From RFC 4648's base-32 digits to those of int(); everything else becomes what int() refuses.
_BASE32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DIGITS = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[place] if place >= 0 else ord("!")
    for place in map(_BASE32.find, range(256))
)
_LETTERS = _BASE32.ljust(256, b"!")


class Prefix(IntEnum):
    """What a key is for: its first letter."""

    OPERATOR = 14 << 3
    ACCOUNT = 0
    USER = 20 << 3
    SERVER = 13 << 3
    CLUSTER = 2 << 3

    @property
    def letter(self) -> str:
        """The first letter of such a public key: O, A, U, N or C."""
        return base32(bytes([self]))[0]


_PREFIXES = {prefix.value: prefix for prefix in Prefix}


def decode_text(text: str | bytes, chars: int) -> bytes:
    """The payload of an nkey text of so many characters, its CRC checked and taken off.

    Raises:
        InvalidKey: It has none.
    """
    try:
        raw = text.encode("ascii") if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError as error:
        raise InvalidKey("not an nkey: characters outside A-Z and 2-7") from error
    if len(raw) != chars:
        raise InvalidKey(f"not an nkey: {chars} characters are needed, not {len(raw)}")
    # Reading it as one number in base 32 takes a tenth of the time of base64.b32decode.
    try:
        value = int(raw.translate(_DIGITS), 32)
    except ValueError as error:
        raise InvalidKey("not an nkey: characters outside A-Z and 2-7") from error
    spare = chars * 5 % 8
    if value & ((1 << spare) - 1):
        raise InvalidKey("not an nkey: bits are left over")
    data = (value >> spare).to_bytes(chars * 5 // 8, "big")
    payload, crc = data[:-2], int.from_bytes(data[-2:], "little")
    if binascii.crc_hqx(payload, 0) != crc:
        raise InvalidKey("not an nkey: the checksum is wrong; was it mistyped or cut?")
    return payload


def encode_payload(payload: bytes) -> str:
    """The nkey text of a payload."""
    crc = binascii.crc_hqx(payload, 0).to_bytes(2, "little")
    return base32(payload + crc)


def base32(data: bytes) -> str:
    """RFC 4648's base 32, without padding."""
    chars = (len(data) * 8 + 4) // 5
    value = int.from_bytes(data, "big") << chars * 5 - len(data) * 8
    # As a number whose digits lie 5 bits apart, which are moved to 8 bits apart, all at once by
    # halves: a loop over the digits takes four times as long.
    for half, low in _halves(chars):
        value = value & low | (value & low << 5 * half) << 3 * half
    return value.to_bytes(chars, "big").translate(_LETTERS).decode("ascii")


@lru_cache(maxsize=64)
def _halves(chars: int) -> list[tuple[int, int]]:
    """By how many digits to part, and which bits are the lower half of each part."""
    found = []
    size = 1 << (chars - 1).bit_length() if chars else 1
    while size > 1:
        half, ones = size // 2, (1 << 5 * (size // 2)) - 1
        found.append((half, sum(ones << 8 * at for at in range(0, chars, size))))
        size = half
    return found


def _prefix(value: int, wanted: Prefix | None) -> Prefix:
    prefix = _PREFIXES.get(value)
    if prefix is None:
        raise InvalidKey("not an nkey: unknown prefix")
    if wanted is not None and prefix is not wanted:
        raise InvalidKey(f"a key of the kind {wanted.name.lower()} ({wanted.letter}...) is needed")
    return prefix


def is_curve_key(text: str) -> bool:
    """Whether it is a public curve key (X...), which encrypts and signs nothing."""
    try:
        return decode_text(text, _PUBLIC_CHARS)[0] == _CURVE
    except InvalidKey:
        return False


class PublicKey:
    """A public nkey whose checksum has been checked; equal and hashable by its text."""

    __slots__ = ("prefix", "raw", "text")

    def __init__(self, prefix: Prefix, raw: bytes) -> None:
        if len(raw) != _RAW_BYTES:
            raise InvalidKey(f"an Ed25519 key has 32 bytes, not {len(raw)}")
        self.prefix = prefix
        self.raw = raw
        self.text = encode_payload(bytes([prefix]) + raw)

    @classmethod
    def parse(cls, text: str, prefix: Prefix | None = None) -> Self:
        """Read a public key.

        Args:
            text: 56 characters, such as ``UA...``.
            prefix: The kind that is needed; any if None.

        Raises:
            InvalidKey: It is not one, or of another kind.
        """
        payload = decode_text(text, _PUBLIC_CHARS)
        key = cls.__new__(cls)
        key.prefix = _prefix(payload[0], prefix)
        key.raw = payload[1:]
        key.text = text  # the only spelling there is
        return key

    def is_sound(self) -> bool:
        """Whether it can be the key of a pair: not of small order, nor otherwise off the group.

        For keys that come without a signature by them, because ``verify`` refuses the others: with
        a key of small order anybody signs anything.
        """
        return crypto_core_ed25519_is_valid_point(self.raw)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature over the message."""
        if len(signature) != crypto_sign_BYTES:
            return False
        try:
            crypto_sign_open(signature + message, self.raw)
        except BadSignatureError:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"PublicKey({self.text})"


class KeyPair:
    """A private nkey. Its seed leaves only through ``seed`` and never through repr or str."""

    def __init__(self, prefix: Prefix, raw_seed: bytes) -> None:
        if len(raw_seed) != _RAW_BYTES:
            raise InvalidKey(f"an Ed25519 seed has 32 bytes, not {len(raw_seed)}")
        self.prefix = prefix
        key = SigningKey(raw_seed)
        self._raw_seed = raw_seed
        self._secret = raw_seed + bytes(key.verify_key)
        self.public = PublicKey(prefix, bytes(key.verify_key))

    @classmethod
    def generate(cls, prefix: Prefix) -> Self:
        """A new key from the operating system's randomness."""
        return cls(prefix, randombytes(_RAW_BYTES))

    @classmethod
    def from_seed(cls, seed: str | bytes, prefix: Prefix | None = None) -> Self:
        """Read a seed.

        Args:
            seed: 58 characters, such as ``SU...``.
            prefix: The kind that is needed; any if None.

        Raises:
            InvalidKey: It is not a seed, or of another kind; the message never shows the seed.
        """
        payload = decode_text(seed, _SEED_CHARS)
        first, second = payload[0], payload[1]
        if first & 0xF8 != _SEED:
            raise InvalidKey("not a seed: it must begin with S; was a public key given?")
        if second & 0x07:
            raise InvalidKey("not a seed: bits are left over")
        return cls(_prefix((first & 0x07) << 5 | second >> 3, prefix), payload[2:])

    @cached_property
    def seed(self) -> str:
        """The seed's text. Whoever has it is this key."""
        seed = nkeys.encode_seed(self._raw_seed, int(self.prefix))  # type: ignore[no-untyped-call]
        return bytes(seed).decode("ascii")

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the Ed25519 signature."""
        return crypto_sign(message, self._secret)[:crypto_sign_BYTES]

    def __repr__(self) -> str:
        return f"KeyPair({self.public.text})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a KeyPair can't be pickled; store its seed where secrets are kept")
