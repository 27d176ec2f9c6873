from __future__ import annotations

import base64
import binascii
import copy
import pickle

import nkeys
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidKey
from authsvc.nkey import KeyPair, Prefix, PublicKey, is_curve_key

USER = KeyPair(Prefix.USER, bytes(range(32)))
RAW = st.binary(min_size=32, max_size=32)
PREFIXES = st.sampled_from(Prefix)
CURVE = 23 << 3


def spelt(*payload: int | bytes) -> str:
    """An nkey text with a right checksum over anything."""
    data = b"".join(bytes([part]) if isinstance(part, int) else part for part in payload)
    data += binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data).decode().rstrip("=")


@given(PREFIXES, RAW)
def test_both_texts_round_trip(prefix: Prefix, raw: bytes) -> None:
    pair = KeyPair(prefix, raw)
    again = KeyPair.from_seed(pair.seed, prefix)
    assert again.seed == pair.seed
    assert KeyPair.from_seed(pair.seed.encode()).public == pair.public
    assert again.public == pair.public == PublicKey.parse(pair.public.text, prefix)
    assert PublicKey.parse(pair.public.text).raw == pair.public.raw
    assert pair.public.text[0] == prefix.letter
    assert pair.seed.startswith("S" + prefix.letter)


@given(PREFIXES, RAW, st.binary())
def test_the_nkeys_package_agrees(prefix: Prefix, raw: bytes, message: bytes) -> None:
    pair = KeyPair(prefix, raw)
    other = nkeys.from_seed(pair.seed.encode())  # type: ignore[no-untyped-call]
    assert other.public_key.decode() == pair.public.text
    signature = other.sign(message)
    assert pair.sign(message) == signature
    assert pair.public.verify(message, signature)


@given(st.binary(), st.integers(0, 511))
def test_a_signature_holds_for_its_message_only(message: bytes, bit: int) -> None:
    signature = bytearray(USER.sign(message))
    assert USER.public.verify(message, bytes(signature))
    assert not USER.public.verify(message + b"x", bytes(signature))
    assert not USER.public.verify(message, bytes(signature[:-1]))
    assert not KeyPair.generate(Prefix.USER).public.verify(message, bytes(signature))
    signature[bit // 8] ^= 1 << bit % 8
    assert not USER.public.verify(message, bytes(signature))


@given(st.sampled_from([USER.seed, USER.public.text]), st.data())
def test_a_flipped_bit_is_refused(text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]
    for read in (KeyPair.from_seed, PublicKey.parse):
        with pytest.raises(InvalidKey):
            read(changed)


@given(st.sampled_from([USER.seed, USER.public.text]), st.integers(0, 55))
def test_a_truncated_key_is_refused(text: str, length: int) -> None:
    for read in (KeyPair.from_seed, PublicKey.parse):
        with pytest.raises(InvalidKey):
            read(text[:length])


@given(
    st.text()
    | st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=54, max_size=60)
    | st.text(alphabet="SUAO0123_+- \n", min_size=56, max_size=58)
)
def test_any_text_is_refused(text: str) -> None:
    for read in (KeyPair.from_seed, PublicKey.parse):
        with pytest.raises(InvalidKey):
            read(text)


def test_a_signature_takes_no_byte_of_the_message() -> None:
    signature = USER.sign(b"message")
    assert not USER.public.verify(b"essage", signature + b"m")
    assert not USER.public.verify(signature[63:] + b"message", signature[:63])


def test_the_nkeys_package_would_take_a_corrupted_seed() -> None:
    """Why this module checks for itself; when this fails, the package has been mended."""
    seed = USER.seed[:-1] + ("A" if USER.seed[-1] != "A" else "I")
    assert nkeys.from_seed(seed.encode())  # type: ignore[no-untyped-call]
    with pytest.raises(InvalidKey, match=r"checksum|left over"):
        KeyPair.from_seed(seed)


@pytest.mark.parametrize(
    "text",
    [
        spelt(18 << 3 | 5, 1, bytes(32)),  # bits left over in the second byte
        spelt(17 << 3 | 5, 0, bytes(32)),  # not a seed
        spelt(18 << 3 | 7, 7 << 5, bytes(32)),  # a seed of no known kind
        spelt(9 << 3, bytes(32)),
        spelt(CURVE, bytes(32)),
        USER.seed[:-1] + chr(ord(USER.seed[-1]) + 1),  # the same bytes, spelt otherwise
        USER.seed.lower(),
        USER.seed + "======",
        " " + USER.public.text[1:],
        "\uff35" + USER.public.text[1:],
    ],
)
def test_wrong_keys_are_refused(text: str) -> None:
    for read in (KeyPair.from_seed, PublicKey.parse):
        with pytest.raises(InvalidKey):
            read(text)


@pytest.mark.parametrize("wanted", set(Prefix) - {Prefix.USER})
def test_another_kind_is_refused(wanted: Prefix) -> None:
    with pytest.raises(InvalidKey, match=wanted.name.lower()):
        PublicKey.parse(USER.public.text, wanted)
    with pytest.raises(InvalidKey, match=wanted.name.lower()):
        KeyPair.from_seed(USER.seed, wanted)


def test_a_public_key_is_no_seed_nor_the_other_way_round() -> None:
    with pytest.raises(InvalidKey):
        KeyPair.from_seed(USER.public.text)
    with pytest.raises(InvalidKey):
        PublicKey.parse(USER.seed)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_raw_keys_have_32_bytes(size: int) -> None:
    with pytest.raises(InvalidKey):
        KeyPair(Prefix.USER, bytes(size))
    with pytest.raises(InvalidKey):
        PublicKey(Prefix.USER, bytes(size))


def test_the_seed_does_not_show() -> None:
    raw = bytes(range(32))
    for text in (repr(USER), str(USER), f"{USER}", str(vars(USER)["public"])):
        assert USER.seed not in text
        assert repr(raw) not in text
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(USER)


@given(st.integers(0, 57))
def test_the_seed_is_in_no_message(place: int) -> None:
    changed = USER.seed[:place] + ("B" if USER.seed[place] == "A" else "A") + USER.seed[place + 1 :]
    with pytest.raises(InvalidKey) as refused:
        KeyPair.from_seed(changed)
    assert USER.seed[10:40] not in str(refused.value)


def test_generated_keys_differ_and_compare_by_text() -> None:
    one, two = KeyPair.generate(Prefix.ACCOUNT), KeyPair.generate(Prefix.ACCOUNT)
    assert one.public != two.public
    same = PublicKey(Prefix.ACCOUNT, one.public.raw)
    assert same == one.public
    assert len({same, one.public, two.public}) == 2
    assert PublicKey(Prefix.USER, one.public.raw) != one.public
    assert one.public != one.public.text


def test_curve_keys() -> None:
    assert is_curve_key(spelt(CURVE, bytes(32)))
    assert not is_curve_key(USER.public.text)
    assert not is_curve_key("X" * 56)


def test_a_key_that_nobody_made_is_not_sound() -> None:
    assert all(KeyPair.generate(Prefix.USER).public.is_sound() for _ in range(20))
    for raw in (bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"):
        assert not PublicKey(Prefix.USER, raw).is_sound()
