from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authsvc.errors import InvalidBackup, InvalidKey
from authsvc.server.backup import bech32, stanzas
from authsvc.server.backup.envelope import Sealed, is_for_passphrase, unseal
from authsvc.server.backup.stanzas import Identity, Passphrase, Recipient

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "age.json").read_text())
IDENTITY = Identity(bytes(range(32)))
CHUNK = 65536


def sealed(plain: bytes, *sealers: Recipient | Passphrase) -> bytes:
    file = io.BytesIO()
    writer = Sealed(file, sealers or [IDENTITY.recipient])
    for place in range(0, len(plain), 50_000):
        writer.write(plain[place : place + 50_000])
    writer.close()
    return file.getvalue()


def opened(data: bytes, *openers: Identity | Passphrase) -> bytes:
    return b"".join(unseal(io.BytesIO(data), openers or [IDENTITY]))


def test_what_another_program_sealed_is_opened() -> None:
    """The vectors were made by age 1.2.1, its reference implementation."""
    plain = VECTORS["plain"].encode()
    identity = Identity.from_text(VECTORS["identity"])
    assert identity.recipient.text == VECTORS["recipient"]
    assert Recipient.from_text(VECTORS["recipient"]) == identity.recipient
    assert opened(base64.b64decode(VECTORS["sealed"]), IDENTITY, identity) == plain
    by_passphrase = base64.b64decode(VECTORS["sealed_by_passphrase"])
    assert is_for_passphrase(io.BytesIO(by_passphrase))
    assert opened(by_passphrase, Passphrase(VECTORS["passphrase"])) == plain


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_was_sealed_is_opened(size: int) -> None:
    plain = bytes(size)
    data = sealed(plain)
    assert opened(data) == plain
    assert data != sealed(plain)


def test_by_passphrase() -> None:
    data = sealed(b"secret", Passphrase("right", work=4))
    assert opened(data, Passphrase("right")) == b"secret"
    with pytest.raises(InvalidBackup, match="passphrase is not the one"):
        opened(data, Passphrase("wrong"))
    with pytest.raises(InvalidBackup, match="passphrase is not the one"):
        opened(data)
    assert "right" not in repr(Passphrase("right"))
    assert b"secret" not in data


def test_for_several_and_for_none_else() -> None:
    other = Identity(bytes(32))
    data = sealed(b"x", other.recipient, IDENTITY.recipient)
    assert opened(data) == opened(data, other) == b"x"
    with pytest.raises(InvalidBackup, match="for other keys"):
        opened(data, Identity(b"\x07" * 32))
    with pytest.raises(InvalidBackup, match="for other keys"):
        opened(data, Passphrase("x"))


def test_every_bit_that_is_changed_is_found() -> None:
    data = sealed(b"some text")
    for place in range(len(data)):
        for mask in (1, 0x20, 0x80):
            changed = bytearray(data)
            changed[place] ^= mask
            with pytest.raises(InvalidBackup):
                opened(bytes(changed))


def test_every_length_that_is_cut_off_is_found() -> None:
    data = sealed(b"some text")
    for length in range(len(data)):
        with pytest.raises(InvalidBackup):
            opened(data[:length])
    for more in (b"\0", data, bytes(CHUNK)):
        with pytest.raises(InvalidBackup):
            opened(data + more)


def test_pieces_have_their_places() -> None:
    """Swapped, left out, cut at a seam, or made the last one, they don't open."""
    plain = b"".join(bytes([place]) * CHUNK for place in range(3))
    data = sealed(plain)
    size = CHUNK + 16
    first = len(data) - 3 * size
    head, pieces = data[:first], [data[first + n * size :][:size] for n in range(3)]
    assert head + b"".join(pieces) == data
    for order in ([1, 0, 2], [0, 2], [0, 1, 1, 2], [2], [0, 1, 2, 2]):
        with pytest.raises(InvalidBackup):
            opened(head + b"".join(pieces[place] for place in order))
    for count in range(3):
        with pytest.raises(InvalidBackup, match="cut off"):
            opened(head + b"".join(pieces[:count]))


def test_work_is_bounded() -> None:
    """A file can't ask for gigabytes of memory."""
    data = sealed(b"", Passphrase("x", work=4))
    assert stanzas.MOST_WORK < 23
    for work in (b"23", b"63", b"99", b"04", b"-1", b"4x", b"1000", b"\xc2\xb2"):
        with pytest.raises(InvalidBackup):
            opened(data.replace(b" 4\n", b" " + work + b"\n", 1), Passphrase("x"))
    key = sealed(b"")
    stanza = key[key.index(b"->") : key.index(b"---")]
    with pytest.raises(InvalidBackup, match="header"):
        opened(key.replace(stanza, stanza * 600))
    with pytest.raises(InvalidBackup, match="header"):
        opened(b"age-encryption.org/v1\n-> " + b"x" * 10_000_000)


def test_points_of_small_order_are_refused() -> None:
    key = sealed(b"")
    share = key[key.index(b"X25519 ") + 7 :].split(b"\n")[0]
    zero = base64.b64encode(bytes(32)).rstrip(b"=")
    with pytest.raises(InvalidBackup):
        opened(key.replace(share, zero))


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_anything_else_is_no_backup(data: bytes) -> None:
    for begun in (b"", b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 "):
        with pytest.raises(InvalidBackup):
            opened(begun + data)


@given(st.binary(min_size=32, max_size=32))
def test_keys_are_spelt_as_age_spells_them(data: bytes) -> None:
    text = bech32.encode("age", data)
    assert bech32.decode("age", text) == bech32.decode("age", text.upper()) == data
    place = len(text) // 2
    wrong = text[:place] + ("q" if text[place] != "q" else "p") + text[place + 1 :]
    for bad in (wrong, text[:-1], text.replace("age1", "age2"), f"A{text[1:]}", ""):
        with pytest.raises(InvalidKey):
            bech32.decode("age", bad)
    with pytest.raises(InvalidKey):
        Recipient.from_text(bech32.encode("age", data[1:]))
    with pytest.raises(InvalidKey):
        bech32.decode("age-secret-key-", text)
