"""Bech32, the spelling of age's keys; without its limit of 90 characters, as age has it.

Source: BIP 173, https://github.com/C2SP/C2SP/blob/main/age.md.
"""

from __future__ import annotations

from authsvc.errors import InvalidKey

__all__ = ["decode", "encode"]

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6


def encode(prefix: str, data: bytes) -> str:
    """The bytes as text that begins with the prefix, in lower case."""
    words = _regroup(data, 8, 5, pad=True)
    rest = _polymod([*_expand(prefix), *words, *[0] * _CHECKSUM]) ^ 1
    words += [rest >> 5 * (5 - place) & 31 for place in range(_CHECKSUM)]
    return f"{prefix}1{''.join(_ALPHABET[word] for word in words)}"


def decode(prefix: str, text: str) -> bytes:
    """The bytes that the text spells.

    Args:
        prefix: What it must begin with, in lower case.
        text: All in one case.

    Raises:
        InvalidKey: It is not of that kind, or its checksum is wrong.
    """
    lower = text.lower()
    found, separator, body = lower.rpartition("1")
    known = set(body) <= set(_ALPHABET) and len(body) > _CHECKSUM
    if text not in {lower, text.upper()} or not separator or found != prefix or not known:
        raise InvalidKey(f"not a key that begins with {prefix}1")
    words = [_ALPHABET.index(char) for char in body]
    if _polymod([*_expand(prefix), *words]) != 1:
        raise InvalidKey(f"the checksum of a key that begins with {prefix}1 is wrong")
    return bytes(_regroup(words[:-_CHECKSUM], 5, 8, pad=False))


def _expand(prefix: str) -> list[int]:
    return [*[ord(char) >> 5 for char in prefix], 0, *[ord(char) & 31 for char in prefix]]


def _polymod(words: list[int]) -> int:
    rest = 1
    for word in words:
        top = rest >> 25
        rest = (rest & 0x1FFFFFF) << 5 ^ word
        for place, value in enumerate(_GENERATOR):
            rest ^= value if top >> place & 1 else 0
    return rest


def _regroup(words: bytes | list[int], width: int, wanted: int, *, pad: bool) -> list[int]:
    held, count, found = 0, 0, []
    for word in words:
        held = (held << width | word) & (1 << width + wanted) - 1
        count += width
        while count >= wanted:
            count -= wanted
            found.append(held >> count & (1 << wanted) - 1)
    rest = held & (1 << count) - 1
    if pad and count:
        found.append(rest << wanted - count)
    elif not pad and (count >= width or rest):
        raise InvalidKey("a key has bits left over")
    return found
