from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.claims import AccountClaims, UserClaims, encode, format_creds, parse_creds
from authsvc.errors import InvalidClaims
from authsvc.nkey import KeyPair, Prefix

ACCOUNT = KeyPair.generate(Prefix.ACCOUNT)
USER = KeyPair.generate(Prefix.USER)
JWT = encode(UserClaims(subject=USER.public.text, name="alice"), ACCOUNT)
TEXT = format_creds(JWT, USER)
# The places that matter: the JWT and the seed. The rest is decoration.
SECRETS = [range(TEXT.index(part), TEXT.index(part) + len(part)) for part in (JWT, USER.seed)]


def test_round_trip() -> None:
    creds = parse_creds(TEXT)
    assert creds.jwt == JWT
    assert creds.key.seed == USER.seed


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.rstrip("\n"),
    lambda text: "\n\n" + text,
    lambda text: text[text.index("-----BEGIN USER") :] + text[: text.index("*****")],
])  # fmt: skip
def test_other_line_ends_and_orders_are_read(change: object) -> None:
    assert callable(change)
    assert parse_creds(change(TEXT)).key.public == USER.public


def test_nothing_secret_shows() -> None:
    creds = parse_creds(TEXT)
    for text in (repr(creds), str(creds), f"{creds}"):
        assert USER.seed not in text
        assert JWT not in text
    with pytest.raises(TypeError):
        pickle.dumps(creds)
    with pytest.raises(TypeError):
        copy.deepcopy(creds)


def test_creds_are_for_the_users_own_key_only() -> None:
    with pytest.raises(InvalidClaims, match="another nkey"):
        format_creds(JWT, KeyPair.generate(Prefix.USER))
    with pytest.raises(InvalidClaims):
        format_creds(encode(AccountClaims(subject=ACCOUNT.public.text), ACCOUNT), ACCOUNT)
    with pytest.raises(InvalidClaims):
        format_creds(JWT[:-1], USER)
    other = KeyPair.generate(Prefix.USER)
    with pytest.raises(InvalidClaims, match="another nkey"):
        parse_creds(TEXT.replace(USER.seed, other.seed))


@pytest.mark.parametrize("text", [
    "",
    JWT,
    TEXT[: TEXT.index("*****")],
    TEXT[TEXT.index("*****") :],
    TEXT + TEXT,
    TEXT.replace("BEGIN NATS USER", "BEGIN NATS ACCOUNT"),
    TEXT.replace("END USER NKEY SEED", "END USER NKEY"),
    TEXT.replace(USER.seed, ACCOUNT.seed),
    TEXT.replace(USER.seed, USER.public.text),
    TEXT.replace(USER.seed, USER.seed.lower()),
    TEXT + "x" * (1 << 20),
])  # fmt: skip
def test_what_is_no_creds_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidClaims) as refused:
        parse_creds(text)
    assert USER.seed not in str(refused.value)
    assert ACCOUNT.seed not in str(refused.value)


@given(st.sampled_from([place for span in SECRETS for place in span]), st.integers(0, 6))
def test_a_flipped_bit_is_refused(place: int, bit: int) -> None:
    changed = TEXT[:place] + chr(ord(TEXT[place]) ^ 1 << bit) + TEXT[place + 1 :]
    with pytest.raises(InvalidClaims):
        parse_creds(changed)


@given(st.integers(0, SECRETS[1].stop - 1))
def test_truncated_text_is_refused(length: int) -> None:
    with pytest.raises(InvalidClaims):
        parse_creds(TEXT[:length])


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidClaims):
        parse_creds(f"-----BEGIN NATS USER JWT-----\n{text}\n------END NATS USER JWT------\n")


def test_many_dashes_are_read_in_linear_time() -> None:
    with pytest.raises(InvalidClaims):
        parse_creds("-" * 1_000_000)
