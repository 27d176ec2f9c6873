"""Wycheproof's vectors against what verifies here: nkeys, proofs, NATS JWTs and login tokens.

No invalid one is accepted. A valid one that is refused stands in ``STRICTER``, with the reason.
Where the payload of a vector is no set of claims, as of all JWS ones, the token is taken apart,
its header looked at and its signature checked by the very functions that do so in a login.

Source: tests/vectors/wycheproof/README.md.
"""

from __future__ import annotations

import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from jwt import PyJWK

from authsvc import dpop, jose
from authsvc.errors import AuthsvcError, InvalidToken
from authsvc.nkey import Prefix, PublicKey
from authsvc.server.login.oidc import OidcLogin
from authsvc.server.login.provider import _SHAPES, Provider
from authsvc.server.login.syftbox_secret import SyftboxSecret
from authsvc.server.login.token import _check_header
from tests.server.login.stand_in import answer, serve

VECTORS = Path(__file__).parents[1] / "vectors" / "wycheproof"

NOT_BASE64 = "a '?' amid base64url, which has no such character (RFC 4648, 3.3; RFC 7515, 2)"
ANOTHER_ALG = "the key says that it is for another alg (RFC 7517, 4.4)"
STRICTER = {
    346: f"{ANOTHER_ALG}: PS256, and the token is PS384",
    350: f"{ANOTHER_ALG}: PS256, and the token is PS384",
    347: f"{ANOTHER_ALG}: ES521, which RFC 7518 does not know; the token is ES512",
    351: f"{ANOTHER_ALG}: ES521, which RFC 7518 does not know; the token is ES512",
    372: NOT_BASE64,
    373: NOT_BASE64,
}
PADDING_LOST = {367, 370}
"""Called invalid for their padding, which they lost: letter by letter 357, which is valid."""
NO_SHARED_SECRETS = "a key set is public: what it calls a shared secret verifies nothing"
STRICTER_KEYS = {2: NO_SHARED_SECRETS, **dict.fromkeys((13, 14, 15), NO_SHARED_SECRETS)}


def _groups(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


ED25519 = [
    (group["pk"], each["msg"], each["sig"], each["result"] == "valid", each["comment"])
    for group in _groups("ed25519")
    for each in group["tests"]
]


def test_all_of_them_are_there() -> None:
    counts = [(name, sum(len(it["tests"]) for it in _groups(name))) for name in ("jws", "jwk")]
    assert (len(ED25519), counts) == (151, [("jws", 401), ("jwk", 26)])


def test_ed25519_by_nkeys_which_verify_nats_jwts_and_nonces() -> None:
    for public, message, signature, valid, comment in ED25519:
        key = PublicKey(Prefix.USER, bytes.fromhex(public))
        key = PublicKey.parse(key.text, Prefix.USER)
        held = key.verify(bytes.fromhex(message), bytes.fromhex(signature))
        assert held is valid, (comment, public, message, signature)


def test_ed25519_by_the_key_of_a_proof() -> None:
    for public, message, signature, valid, comment in ED25519:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.b64encode(bytes.fromhex(public))}
        key = dpop._public_key({"typ": "dpop+jwt", "alg": "Ed25519", "jwk": jwk})
        held = key.verify(bytes.fromhex(message), bytes.fromhex(signature))
        assert held is valid, (comment, public, message, signature)


def test_ed25519_by_the_key_of_a_provider() -> None:
    """EdDSA of OIDC goes through PyJWT and OpenSSL."""
    for public, message, signature, valid, comment in ED25519:
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": jose.b64encode(bytes.fromhex(public))}
        key = PyJWK(jwk, "EdDSA")
        held = key.Algorithm.verify(bytes.fromhex(message), key.key, bytes.fromhex(signature))
        assert held is valid, (comment, public, message, signature)


async def _login(keys: list[dict[str, Any]]) -> OidcLogin:
    """A login by a provider that publishes such keys, over HTTP."""

    def said(lines: list[str]) -> bytes:
        if "openid-configuration" in lines[0]:
            return answer(200, jose.dumps({"issuer": server.url, "jwks_uri": f"{server.url}/k"}))
        return answer(200, jose.dumps({"keys": keys}))

    async with serve(said) as server:
        provider = Provider(server.url)
        with pytest.raises(AuthsvcError):
            await provider.keys("fetched now", "RS256")
    return OidcLogin(provider, audience="x", algorithms=tuple(_SHAPES))


async def _accepts(login: OidcLogin | SyftboxSecret, token: Any) -> bool:
    """Whether the token's form, header and signature are right; its payload may be anything."""
    try:
        parts = str(token).split(".")
        if len(parts) != 3:
            jose.split(str(token))
        header, signature = jose.loads(jose.b64decode(parts[0])), jose.b64decode(parts[2])
        jose.b64decode(parts[1])
        signing_input = f"{parts[0]}.{parts[1]}".encode("ascii")
        if isinstance(login, SyftboxSecret):
            _check_header(header)
            login._check_signature(signing_input, signature)
        else:
            algorithm, kid = login._check_header(header)
            await login._check_signature(algorithm, kid, signing_input, signature)
    except AuthsvcError:
        return False
    return True


def _secret(key: dict[str, Any]) -> SyftboxSecret:
    """A login by a secret of any bytes; settings have texts."""
    login = SyftboxSecret("")
    login._mac = hmac.new(jose.b64decode(key["k"]), digestmod="sha256")
    return login


@pytest.mark.parametrize("group", _groups("jws"), ids=lambda group: group["comment"])
async def test_signatures_of_login_tokens(group: dict[str, Any]) -> None:
    key = group["key"]
    login = _secret(key) if key["kty"] == "oct" else await _login([key])
    for each in group["tests"]:
        wanted = each["result"] == "valid" and each["tcId"] not in STRICTER
        if each["tcId"] in PADDING_LOST:
            wanted = each["jws"] == next(it["jws"] for it in group["tests"] if it["tcId"] == 357)
            assert not await _accepts(login, each["jws"] + "=")
            assert not await _accepts(login, each["jws"].replace(".c1", "==.c1"))
        assert await _accepts(login, each["jws"]) is wanted, each
    await login.close()


@pytest.mark.parametrize("group", _groups("jwk"), ids=lambda group: group["comment"])
async def test_keys_of_providers(group: dict[str, Any]) -> None:
    login = await _login(group["keys"])
    for each in group["tests"]:
        wanted = each["result"] == "valid" and each["tcId"] not in STRICTER_KEYS
        assert await _accepts(login, each["jws"]) is wanted, each
    await login.close()


async def test_no_vector_is_a_login() -> None:
    """Good signatures over what are no claims, by the whole way."""
    oidc = await _login([])
    for group in _groups("jws"):
        login = _secret(group["key"]) if group["key"]["kty"] == "oct" else oidc
        for each in group["tests"]:
            with pytest.raises(InvalidToken):
                await login.verify(str(each["jws"]), 1_700_000_000)
    await oidc.close()
