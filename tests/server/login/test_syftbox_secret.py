from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import jose
from authsvc.errors import InvalidName, InvalidToken
from authsvc.server.login import SyftboxSecret, syftbox_secret
from authsvc.server.login.token import MAX_TOKEN_CHARS
from tests.server.login.tokens import (
    BAD,
    GOOD_HEADER,
    ISSUER,
    NOW,
    REFUSED_NAMES,
    SECRET,
    claims,
    raw,
    token,
)

METHOD = SyftboxSecret(SECRET.ljust(32), ISSUER)


async def test_a_good_token_proves_its_subject() -> None:
    identity = await METHOD.verify(token(), NOW)
    assert identity.username == "alice@example.com"
    assert identity.email is True
    assert identity.method == "syftbox"
    assert identity.expires_at == NOW + 3600


@pytest.mark.parametrize(
    "changes",
    [
        {"nbf": NOW},
        {"iat": NOW + 60},
        {"iat": None},
        {"jti": None},
        {"aud": "somebody"},
        {"exp": NOW + 1},
        {"sub": " Alice@Example.com "},
    ],
)
async def test_what_is_within_bounds_is_accepted(changes: dict[str, object]) -> None:
    assert (await METHOD.verify(token(**changes), NOW)).username == "alice@example.com"


async def test_any_issuer_counts_when_none_is_set() -> None:
    method = SyftboxSecret(SECRET.ljust(32))
    assert (await method.verify(token(iss="https://x.example"), NOW)).method == "syftbox"


async def test_a_token_that_was_verified_is_still_looked_at() -> None:
    """Times pass, and clients claim; only the signature holds for good."""
    method = SyftboxSecret(SECRET.ljust(32), ISSUER)
    text = token(exp=NOW + 10, nbf=NOW)
    first = await method.verify(text, NOW)
    assert await method.verify(text, NOW + 9.9) is first
    assert await method.verify(text, NOW, claimed=" Alice@example.com ") is first
    for refused, claimed in ((NOW + 10, None), (NOW - 1, None), (NOW, "bob@example.com")):
        with pytest.raises(InvalidToken):
            await method.verify(text, refused, claimed=claimed)
    assert await method.verify(text, NOW) is first
    for other in (text[:-5] + "AAAA" + text[-1], text + "A", text.replace(".", "..", 1)):
        with pytest.raises(InvalidToken):
            await method.verify(other, NOW)


async def test_what_was_refused_is_not_remembered_and_not_all_that_was_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = SyftboxSecret(SECRET.ljust(32), ISSUER)
    monkeypatch.setattr(syftbox_secret, "_MAX_BELIEVED", 3)
    texts = [token(sub=f"u{number}@x.com") for number in range(5)]
    first = [await method.verify(text, NOW) for text in texts]
    with pytest.raises(InvalidToken):
        await method.verify(texts[0][:-1], NOW)
    assert len(method._believed) == 3
    again = [await method.verify(text, NOW) for text in reversed(texts)]
    assert [it.username for it in reversed(again)] == [it.username for it in first]
    # Nothing of a token is kept but its digest.
    assert not any(text.encode() in key for text in texts for key in method._believed)
    assert all(len(key) == 32 for key in method._believed)


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token_proves_nothing(name: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        await METHOD.verify(BAD[name], NOW)
    assert caught.value.reason.startswith("token: ")
    assert BAD[name] == "" or BAD[name] not in caught.value.reason


def test_the_bad_tokens_are_signed_like_good_ones() -> None:
    # Otherwise most of the table would show nothing but that signatures are checked.
    good = jwt.decode(
        raw(GOOD_HEADER, jose.dumps(claims())),
        SECRET.ljust(32),
        algorithms=["HS256"],
        options={"verify_exp": False, "verify_iat": False},
    )
    assert good == claims()
    assert any(len(text) <= MAX_TOKEN_CHARS for text in BAD.values())
    for name in ("deep nesting", "a long integer", "exp a long integer"):
        assert len(BAD[name]) <= MAX_TOKEN_CHARS, name


async def test_integers_that_python_refuses_are_refused_as_tokens() -> None:
    # Above 4,300 digits int() raises a plain ValueError; such a token is over the length too.
    payload = jose.dumps(claims())[:-1] + b',"x":' + b"1" * 5000 + b"}"
    with pytest.raises(InvalidToken):
        await METHOD.verify(raw(GOOD_HEADER, payload), NOW)


@pytest.mark.parametrize("secret", ["", "x", SECRET, SECRET.ljust(33), SECRET.upper().ljust(32)])
async def test_another_secret_s_tokens_prove_nothing(secret: str) -> None:
    with pytest.raises(InvalidToken, match="could not be authenticated") as caught:
        await SyftboxSecret(secret, ISSUER).verify(token(), NOW)
    assert "signature" in caught.value.reason


@pytest.mark.parametrize("name", REFUSED_NAMES)
async def test_names_that_the_contract_refuses_say_why(name: str) -> None:
    with pytest.raises(InvalidName, match="username"):
        await METHOD.verify(token(sub=name), NOW)


async def test_a_forged_token_does_not_tell_about_its_name() -> None:
    head, body, _ = token(sub="no-at-sign").split(".")
    with pytest.raises(InvalidToken):
        await METHOD.verify(f"{head}.{body}.{'A' * 43}", NOW)


@given(st.text(max_size=200))
async def test_any_text_is_a_bad_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        await METHOD.verify(text, NOW)


@given(st.binary(max_size=300), st.binary(max_size=300))
async def test_any_signed_bytes_are_a_bad_token(header: bytes, payload: bytes) -> None:
    for text in (raw(GOOD_HEADER, payload), raw(header, jose.dumps(claims()))):
        with pytest.raises(InvalidToken):
            await METHOD.verify(text, NOW)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
async def test_no_flipped_bit_is_accepted(place: int, bit: int) -> None:
    good = bytearray(token().encode())
    good[place % len(good)] ^= 1 << bit
    with pytest.raises(InvalidToken):
        await METHOD.verify(good.decode("latin-1"), NOW)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
    st.sampled_from(["type", "exp", "iat", "nbf", "iss", "sub"]),
)
async def test_any_value_of_a_claim_is_accepted_or_refused(value: object, name: str) -> None:
    try:
        payload = jose.dumps({**claims(), name: value})
    except TypeError:  # an integer that orjson can't write
        return
    try:
        identity = await METHOD.verify(raw(GOOD_HEADER, payload), NOW)
    except (InvalidToken, InvalidName):
        return
    assert identity.username == "alice@example.com" or name == "sub"
