from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import dpop, jose
from authsvc.errors import InvalidInput, InvalidProof
from authsvc.nkey import KeyPair, Prefix

KEY = KeyPair(Prefix.USER, bytes(range(32)))
URL = "https://auth.example.com/v1/credentials"
NOW = 1_700_000_000.0
TOKEN = "the.access.token"
FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493


def header(**changes: Any) -> dict[str, Any]:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.b64encode(KEY.public.raw)}
    return {"typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk} | changes


def jwk(**changes: Any) -> dict[str, Any]:
    return header(jwk=header()["jwk"] | changes)


def claims(**changes: Any) -> dict[str, Any]:
    everything = {"jti": "one", "htm": "POST", "htu": URL, "iat": int(NOW),
                  "ath": dpop.token_hash(TOKEN)} | changes  # fmt: skip
    return {name: value for name, value in everything.items() if value is not ...}


def signed(head: Any, body: Any, key: KeyPair = KEY) -> str:
    parts = [
        part if isinstance(part, bytes) else json.dumps(part).encode() for part in (head, body)
    ]
    text = ".".join(jose.b64encode(part) for part in parts)
    return f"{text}.{jose.b64encode(key.sign(text.encode()))}"


def verify(proof: str, **changes: Any) -> dpop.Proof:
    arguments: dict[str, Any] = {
        "method": "POST",
        "urls": {URL},
        "token": TOKEN,
        "now": NOW,
    } | changes
    return dpop.verify(proof, **arguments)


def test_what_make_makes_is_verified() -> None:
    proof = dpop.make(KEY, "POST", URL, token=TOKEN, now=NOW, jti="one")
    found = verify(proof)
    assert found == dpop.Proof(KEY.public, "one", NOW)
    assert verify(dpop.make(KEY, "POST", URL, token=None, now=NOW, jti="x"), token=None).jti == "x"
    assert KEY.seed not in proof


def test_the_proof_is_as_rfc_9449_spells_it() -> None:
    proof = jose.split(
        dpop.make(KEY, "POST", URL + "?a=1#b", token=TOKEN, now=NOW + 0.9, jti="one")
    )
    assert proof.header == header()
    assert proof.payload == claims()
    # RFC 9449 section 4.1 has an example of ath.
    example = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert dpop.token_hash(example) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def test_both_spellings_of_the_algorithm_hold() -> None:
    for alg in ("EdDSA", "Ed25519"):
        assert verify(signed(header(alg=alg), claims())).public_key == KEY.public


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (header(typ="JWT"), "typ"),
        (header(typ=None), "typ"),
        (header(alg="none"), "alg"),
        (header(alg="HS256"), "alg"),
        (header(alg="ES256"), "alg"),
        (header(alg="eddsa"), "alg"),
        (header(alg=["EdDSA"]), "alg"),
        (header(crit=["exp"]), "crit"),
        (header(crit=[]), "crit"),
        (header(b64=False), "b64"),
        (header(jwk=None), "jwk"),
        (header(jwk="x"), "jwk"),
        (header(jwk=[]), "jwk"),
        (jwk(kty="EC"), "jwk"),
        (jwk(crv="X25519"), "jwk"),
        (jwk(d=jose.b64encode(bytes(32))), "private"),
        (jwk(d=None), "private"),
        (jwk(x=None), "32 bytes"),
        (jwk(x=7), "32 bytes"),
        (jwk(x=""), "32 bytes"),
        (jwk(x=jose.b64encode(KEY.public.raw[:-1])), "32 bytes"),
        (jwk(x=jose.b64encode(KEY.public.raw + b"x")), "32 bytes"),
        (jwk(x=jose.b64encode(KEY.public.raw) + "="), "base64url"),
        (jwk(x=jose.b64encode(KeyPair.generate(Prefix.USER).public.raw)), "signature"),
        (json.dumps(header()).replace("{", '{"alg":"none",', 1).encode(), "twice"),
        (json.dumps(header()).replace('"kty"', '"x":"","kty"').encode(), "twice"),
        (b"[]", "object"),
        (b"\xff", "JSON"),
    ],
)
def test_header_is_refused(head: Any, reason: str) -> None:
    with pytest.raises(InvalidProof) as refused:
        verify(signed(head, claims()))
    assert reason in refused.value.reason
    # What went wrong is for the log, not for who tries.
    assert reason not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (claims(htm="GET"), "htm"),
        (claims(htm="post"), "htm"),
        (claims(htm=...), "htm"),
        (claims(htu=URL + "/x"), "htu"),
        (claims(htu=URL.replace("https", "http")), "htu"),
        (claims(htu=URL.replace("auth", "evil")), "htu"),
        (claims(htu=URL.replace(".com", ".com:8443")), "htu"),
        (claims(htu=URL.replace(".com", ".com.evil.org")), "htu"),
        (claims(htu=URL.replace("://", "://x:99999999@")), "htu"),
        (claims(htu="/v1/credentials"), "htu"),
        (claims(htu="https://[::1"), "htu"),
        (claims(htu=[URL]), "htu"),
        (claims(htu=...), "htu"),
        (claims(iat=...), "iat"),
        (claims(iat=str(int(NOW))), "iat"),
        (claims(iat=True), "iat"),
        (claims(iat=None), "iat"),
        (claims(iat=NOW - 61), "iat"),
        (claims(iat=NOW + 61), "iat"),
        (claims(iat=0), "iat"),
        (claims(iat=1e308), "iat"),
        (claims(iat=2**63), "iat"),
        (claims(iat=10**400), ""),
        (claims(iat=float("nan")), "JSON"),
        (claims(iat=float("inf")), "JSON"),
        (claims(ath=...), "ath"),
        (claims(ath=dpop.token_hash("another token")), "ath"),
        (claims(ath=dpop.token_hash(TOKEN) + "="), "ath"),
        (claims(ath=hashlib.sha256(TOKEN.encode()).hexdigest()), "ath"),
        (claims(jti=...), "jti"),
        (claims(jti=""), "jti"),
        (claims(jti=1), "jti"),
        (claims(jti="x" * 129), "jti"),
        (json.dumps(claims()).replace("{", '{"jti":"two",', 1).encode(), "twice"),
        (json.dumps(claims()).replace("{", '{"\\u0068tu":"x",', 1).encode(), "twice"),
        ([claims()], "object"),
        (b"{", "JSON"),
    ],
)
def test_claims_are_refused(body: Any, reason: str) -> None:
    with pytest.raises(InvalidProof) as refused:
        verify(signed(header(), body))
    assert reason in refused.value.reason


@pytest.mark.parametrize("age", [-60, 60, 0, 0.5])
def test_the_window_is_60_seconds_either_way(age: float) -> None:
    assert verify(signed(header(), claims(iat=NOW - age))).issued_at == NOW - age
    with pytest.raises(InvalidProof):
        verify(signed(header(), claims(iat=NOW - age)), window=abs(age) - 0.1)


def test_true_is_no_time() -> None:
    assert verify(signed(header(), claims(iat=1)), now=1.0)
    with pytest.raises(InvalidProof):
        verify(signed(header(), claims(iat=True)), now=1.0)


def test_a_long_proof_is_refused_and_the_longest_is_not() -> None:
    fixed = len(signed(header(), claims(x="")))
    fits = signed(header(), claims(x="y" * ((4096 - fixed) * 3 // 4)))
    assert 4090 <= len(fits) <= 4096
    assert verify(fits)
    with pytest.raises(InvalidProof) as refused:
        verify(signed(header(), claims(x="y" * 4096)))
    assert "long" in refused.value.reason


def test_without_a_token_no_hash_is_needed() -> None:
    assert verify(signed(header(), claims(ath=...)), token=None)


@pytest.mark.parametrize("change", [
    lambda proof: proof[:0], lambda proof: proof + "\n", lambda proof: " " + proof,
    lambda proof: proof + "=", lambda proof: proof.rpartition(".")[0],
    lambda proof: proof.rpartition(".")[0] + ".", lambda proof: proof + "." + proof,
    lambda proof: proof.swapcase(), lambda proof: proof[:-2] + "AA", lambda proof: "é" + proof,
])  # fmt: skip
def test_a_proof_spelt_otherwise_is_refused(change: Callable[[str], str]) -> None:
    proof = signed(header(), claims())
    assert verify(proof)
    with pytest.raises(InvalidProof):
        verify(change(proof))


PROOF = signed(header(), claims())


@given(st.integers(0, len(PROOF) * 8 - 1))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    data = bytearray(PROOF.encode())
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(InvalidProof):
        verify(data.decode("latin-1"))


@given(st.text() | st.integers(0, len(PROOF) - 1).map(PROOF.__getitem__))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidProof):
        verify(text)


# The eight points of small order, and the second spellings (y + p) that some of them have. With
# such a key, R = the neutral element and S = 0 are a signature for one message in eight at worst.
_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL = [y | sign << 255 for y in (0, 1, FIELD - 1, _Y8, FIELD - _Y8) for sign in (0, 1)]
_SECOND = [y + FIELD | sign << 255 for y in (0, 1) for sign in (0, 1)]


def _on_curve(y: int) -> bool:
    d = -121665 * pow(121666, -1, FIELD)
    square = (y * y - 1) * pow(d * y * y + 1, -1, FIELD) % FIELD
    return square == 0 or pow(square, (FIELD - 1) // 2, FIELD) == 1


@pytest.mark.parametrize("point", [*_SMALL, *_SECOND])
def test_keys_of_small_order_are_refused(point: int) -> None:
    raw = point.to_bytes(32, "little")
    assert _on_curve(point % 2**255 % FIELD)
    neutral = (1).to_bytes(32, "little")
    forged = 0
    for attempt in range(64):
        text = ".".join(
            jose.b64encode(json.dumps(part).encode())
            for part in (jwk(x=jose.b64encode(raw)), claims(jti=str(attempt)))
        )
        hashed = hashlib.sha512(neutral + raw + text.encode()).digest()
        # Here [S]B = R + [k]A holds, and a verifier that only computes is deceived.
        forged += int.from_bytes(hashed, "little") % ORDER % 8 == 0
        with pytest.raises(InvalidProof) as refused:
            verify(f"{text}.{jose.b64encode(neutral + bytes(32))}")
        assert "signature" in refused.value.reason
    assert forged


def test_a_signature_with_a_large_scalar_is_refused() -> None:
    """S + L is the same number to a verifier that doesn't look: one proof, two spellings."""
    text, _, signature = PROOF.rpartition(".")
    raw = jose.b64decode(signature)
    scalar = int.from_bytes(raw[32:], "little") + ORDER
    with pytest.raises(InvalidProof):
        verify(f"{text}.{jose.b64encode(raw[:32] + scalar.to_bytes(32, 'little'))}")


@pytest.mark.parametrize("y", range(FIELD, 2**255))
def test_keys_that_are_not_canonical_are_refused(y: int) -> None:
    raw = y.to_bytes(32, "little")
    with pytest.raises(InvalidProof):
        verify(signed(jwk(x=jose.b64encode(raw)), claims()))


@pytest.mark.parametrize(
    ("url", "form"),
    [
        (URL, URL),
        (URL + "?a=1", URL),
        (URL + "#part", URL),
        ("HTTPS://AUTH.Example.COM/v1/credentials", URL),
        ("https://auth.example.com:443/v1/credentials", URL),
        ("https://auth.example.com:/v1/credentials", URL),
        ("http://a:80", "http://a/"),
        ("http://a:443/", "http://a:443/"),
        ("https://a:8443/x", "https://a:8443/x"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://[::1]", "http://[::1]/"),
        ("http://a/X/y", "http://a/X/y"),
    ],
)
def test_targets(url: str, form: str) -> None:
    assert dpop.target(url) == dpop.target(form) == form
    assert verify(signed(header(), claims(htu=url)), urls={form})


@pytest.mark.parametrize("url", [
    "", "/x", "ftp://a/", "https://", "https:///x", "//a/x", "http://a:x/", "http://a:65536/",
    "http://[/", "mailto:a@b", "https:a", "http://u@a/", "http://u:p@a/", "http://a\n/", "http://a/\t",
])  # fmt: skip
def test_what_is_no_target(url: str) -> None:
    with pytest.raises(InvalidInput):
        dpop.target(url)


@given(st.text() | st.text("https://[]:@?#.a1%\\\x00"))
def test_any_text_is_a_target_or_refused(url: str) -> None:
    try:
        form = dpop.target(url)
    except InvalidInput:
        return
    assert dpop.target(form) == form


def test_a_target_has_no_space_around_it() -> None:
    for url in (" http://a/b", "http://a/b ", "http://a/ b"):
        with pytest.raises(InvalidInput):
            dpop.target(url)
