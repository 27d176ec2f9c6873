"""Curve keys, compared with what github.com/nats-io/nkeys made of the same seeds."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidInput, InvalidKey
from authsvc.nkey import KeyPair, Prefix, encode_payload
from authsvc.xkey import CurveKey

# By CreateCurveKeysWithRand over bytes that are all 7 and all 9, and Seal from one to the other.
ONE = ("SXAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ6RQ",
       "XAJ34T7K5LZAJR75GNMPZHAAOIMIDULUE6ASQIT6YZ2PG7375F5W23BG")  # fmt: skip
TWO = ("SXAASCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCIJBEEQSCKESY",
       "XBL5WSZVT4R24XQUNZHCKEQFM4CHEJIGGSGBKDAUOU6QZEZ5ATKCD722")  # fmt: skip
SEALED = bytes.fromhex(
    "786b7631aa0b587c3698bb5f7fb789409593bcc19a34614bbc331a4bad608e08"
    "fa4c0074a05b4526d0ab36154602834b189fb691a778b780d3"
)


@pytest.mark.parametrize(("seed", "public"), [ONE, TWO])
def test_keys_are_those_of_go(seed: str, public: str) -> None:
    key = CurveKey.from_seed(seed)
    assert (key.public, key.seed) == (public, seed)


def test_what_go_sealed_opens() -> None:
    assert CurveKey.from_seed(TWO[0]).open(SEALED, ONE[1]) == b"who is there?"


@given(st.binary(max_size=2000))
def test_sealed_text_comes_back_and_only_to_its_recipient(plain: bytes) -> None:
    one, two = CurveKey.from_seed(ONE[0]), CurveKey.from_seed(TWO[0])
    sealed = one.seal(plain, two.public)
    assert sealed.startswith(b"xkv1")
    assert two.open(sealed, one.public) == plain
    with pytest.raises(InvalidInput):
        CurveKey.generate().open(sealed, one.public)
    with pytest.raises(InvalidInput):
        two.open(sealed, CurveKey.generate().public)


@given(st.integers(min_value=0, max_value=len(SEALED) - 1), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_found(place: int, change: int) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= change
    with pytest.raises(InvalidInput):
        CurveKey.from_seed(TWO[0]).open(bytes(changed), ONE[1])


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda it: b"xkv1" + it))
def test_anything_else_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput):
        CurveKey.from_seed(TWO[0]).open(text, ONE[1])


OTHER_KIND = KeyPair(Prefix.USER, bytes(32))
OTHER_KEYS = {
    "none": "",
    "a seed": ONE[0],
    "mistyped": ONE[1][:-1] + "A",
    "another kind": OTHER_KIND.public.text,
    "small order, so the secret would be known": encode_payload(bytes([23 << 3]) + bytes(32)),
}
OTHER_SEEDS = {
    "none": "",
    "public": ONE[1],
    "mistyped": ONE[0][:-1] + "A",
    "another kind": OTHER_KIND.seed,
}


@pytest.mark.parametrize("other", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_other_keys_are_refused(other: str) -> None:
    key = CurveKey.generate()
    with pytest.raises(InvalidKey):
        key.seal(b"text", other)
    with pytest.raises(InvalidKey):
        key.open(SEALED, other)


@pytest.mark.parametrize("seed", OTHER_SEEDS.values(), ids=OTHER_SEEDS)
def test_other_seeds_are_refused_and_not_shown(seed: str) -> None:
    with pytest.raises(InvalidKey) as refused:
        CurveKey.from_seed(seed)
    assert not seed or seed not in str(refused.value)


def test_no_two_nonces_are_the_same() -> None:
    key = CurveKey.generate()
    assert len({key.seal(b"", ONE[1]) for _ in range(100)}) == 100


def test_the_seed_is_not_shown() -> None:
    key = CurveKey.generate()
    assert key.seed not in repr(key) + str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
