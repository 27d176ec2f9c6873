"""Ed25519 as Wycheproof tests it, by vectors of our own: its classes, built from the arithmetic.

Classes: small order, points that are not canonical, S at and above the group's order, wrong
lengths, flipped bits, another message or key, other spellings of zero.

Sources: RFC 8032 section 5.1; C2SP/wycheproof, eddsa (the classes, not the vectors).
"""

from __future__ import annotations

import hashlib

import pytest

from authsvc.nkey import KeyPair, Prefix, PublicKey

FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, FIELD) % FIELD
SEED = bytes(range(32))
KEY = KeyPair(Prefix.USER, SEED)
MESSAGES = [b"", b"x", b"authsvc" * 20, bytes(range(256))]

Point = tuple[int, int]


def _add(one: Point, two: Point) -> Point:
    (x, y), (u, v) = one, two
    both = D * x * u * y * v % FIELD
    return (
        (x * v + u * y) * pow(1 + both, -1, FIELD) % FIELD,
        (y * v + x * u) * pow(1 - both, -1, FIELD) % FIELD,
    )


def _times(scalar: int, point: Point) -> Point:
    found = (0, 1)
    while scalar:
        if scalar & 1:
            found = _add(found, point)
        point, scalar = _add(point, point), scalar >> 1
    return found


def _x(y: int, sign: int) -> int:
    square = (y * y - 1) * pow(D * y * y + 1, -1, FIELD) % FIELD
    root = pow(square, (FIELD + 3) // 8, FIELD)
    if root * root % FIELD != square:
        root = root * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    assert root * root % FIELD == square
    return root if root & 1 == sign else -root % FIELD


def _write(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


BASE: Point = (_x(4 * pow(5, -1, FIELD) % FIELD, 0), 4 * pow(5, -1, FIELD) % FIELD)
# A point of order 8, whose multiples are all points of small order.
EIGHTH_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
EIGHTH: Point = (_x(EIGHTH_Y, 0), EIGHTH_Y)
SMALL = [_times(number, EIGHTH) for number in range(8)]


def _secret(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ~7 & ~(1 << 255) | 1 << 254
    return scalar, digest[32:]


def _challenge(commitment: bytes, public: bytes, message: bytes) -> int:
    digest = hashlib.sha512(commitment + public + message).digest()
    return int.from_bytes(digest, "little") % ORDER


def signed(
    message: bytes, *, public: bytes | None = None, torsion: Point = (0, 1), more: int = 0
) -> bytes:
    """A signature by SEED, with a point of small order added to R and a number to S."""
    scalar, prefix = _secret(SEED)
    public = public or KEY.public.raw
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % ORDER
    commitment = _write(_add(_times(nonce, BASE), torsion))
    number = (nonce + _challenge(commitment, public, message) * scalar) % ORDER + more
    return commitment + number.to_bytes(32, "little")


def holds(signature: bytes, message: bytes, public: bytes = KEY.public.raw) -> bool:
    return PublicKey(Prefix.USER, public).verify(message, signature)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_arithmetic_is_right(message: bytes) -> None:
    assert signed(message) == KEY.sign(message)
    assert holds(signed(message), message)
    assert _times(ORDER, BASE) == (0, 1)
    assert [_times(8, point) for point in SMALL] == [(0, 1)] * 8
    assert len(set(SMALL)) == 8


def test_the_vector_of_rfc_8032() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert KeyPair(Prefix.USER, seed).public.raw == public
    assert holds(KeyPair(Prefix.USER, seed).sign(b""), b"", public)


@pytest.mark.parametrize("message", MESSAGES)
def test_each_signature_has_one_spelling(message: bytes) -> None:
    """S + kL is the same number to a verifier that doesn't look."""
    number = int.from_bytes(signed(message)[32:], "little")
    for times in range(1, (2**256 - number) // ORDER):
        assert not holds(signed(message, more=times * ORDER), message)
    good = signed(message)
    for bit in (252, 253, 254, 255):  # above the order, whatever they mean
        raised = (number | 1 << bit).to_bytes(32, "little")
        assert not holds(good[:32] + raised, message)


@pytest.mark.parametrize(
    "scalar", [0, 1, ORDER - 1, ORDER, ORDER + 1, 2**252, 2**255 - 1, 2**256 - 1]
)
@pytest.mark.parametrize("commitment", [*map(_write, SMALL), _write(BASE), bytes(32), b"\xff" * 32])
def test_made_up_signatures_do_not_hold(scalar: int, commitment: bytes) -> None:
    for message in MESSAGES:
        assert not holds(commitment + scalar.to_bytes(32, "little"), message)


@pytest.mark.parametrize("point", SMALL[1:])
def test_a_commitment_with_torsion_does_not_hold(point: Point) -> None:
    """[8][S]B = [8]R + [8][k]A would hold: verifiers that multiply by eight differ from others."""
    for message in MESSAGES:
        assert not holds(signed(message, torsion=point), message)


@pytest.mark.parametrize("point", SMALL)
def test_keys_of_small_order_sign_nothing(point: Point) -> None:
    spellings = {_write(point)}
    if point[0] == 0:  # "minus zero"
        spellings.add((point[1] | 1 << 255).to_bytes(32, "little"))
    if point[1] + FIELD < 2**255:  # y is not reduced
        spellings.add((point[1] + FIELD | (point[0] & 1) << 255).to_bytes(32, "little"))
    for public in spellings:
        for commitment in map(_write, SMALL):
            for number in range(64):
                assert not holds(commitment + bytes(32), b"%d" % number, public)


def test_a_key_with_torsion_is_another_key() -> None:
    """A + T has A's private scalar; a signature by A for it may hold for one message in eight."""
    scalar, _ = _secret(SEED)
    mixed = _write(_add(_times(scalar, BASE), SMALL[1]))
    assert mixed != KEY.public.raw
    for message in MESSAGES:
        assert not holds(signed(message), message, mixed)
        assert not holds(signed(message, public=mixed), message)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 62, 63, 65, 66, 96, 128])
def test_other_lengths_do_not_hold(length: int) -> None:
    for message in MESSAGES:
        good = signed(message)
        assert not holds((good * 2)[:length], message)
        assert not holds((bytes(64) + good)[-length:] if length else b"", message)


def test_a_flipped_bit_anywhere_does_not_hold() -> None:
    message = MESSAGES[2]
    good, public = signed(message), KEY.public.raw
    for bit in range(512):
        assert not holds(_flipped(good, bit), message)
    for bit in range(256):
        assert not holds(good, message, _flipped(public, bit))
    for bit in range(0, len(message) * 8, 7):
        assert not holds(good, _flipped(message, bit))


def test_another_message_or_key_or_order_of_the_halves_does_not_hold() -> None:
    other = KeyPair(Prefix.USER, bytes(32)).public.raw
    for message in MESSAGES:
        good = signed(message)
        assert not holds(good, message + b"\0")
        assert not holds(good, message, other)
        assert not holds(good[32:] + good[:32], message)
        assert not holds(good[:32][::-1] + good[32:], message)
        assert not holds(good[:32] + good[32:][::-1], message)
        # A signature of the message's hash (Ed25519ph) is none of the message.
        assert not holds(signed(hashlib.sha512(message).digest()), message)


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
