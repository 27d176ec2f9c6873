"""DPoP proofs of possession (RFC 9449), made and verified with a user's nkey as Ed25519 key.

    proof = make(pair, "POST", url, token=access_token, now=time.time(), jti=secrets.token_hex(16))
    verify(proof, method="POST", urls={url}, token=access_token, now=time.time()).public_key

Sources: RFC 9449 sections 4.2 and 4.3; RFC 8037 (OKP keys); RFC 9864 (``alg`` "Ed25519");
RFC 8032 section 5.1 and the libsodium list for keys of small order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from authsvc import jose
from authsvc.errors import InvalidInput, InvalidProof
from authsvc.nkey import KeyPair, Prefix, PublicKey

__all__ = ["Proof", "make", "target", "token_hash", "verify"]

WINDOW_SECONDS = 60
_MAX_PROOF_CHARS = 4096
_MAX_JTI_CHARS = 128
_ALGORITHMS = ("EdDSA", "Ed25519")
_KNOWN_HEADERS = 2048
"""A holder's proofs all have the same header, which says the same each time."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proof(NamedTuple):
    """A proof that held: the key that made it, and what a replay check needs."""

    public_key: PublicKey
    jti: str
    issued_at: float


def token_hash(token: str) -> str:
    """``ath``: base64url of the SHA-256 of the token presented with the proof."""
    return jose.b64encode(hashlib.sha256(token.encode()).digest())


def target(url: str) -> str:
    """``htu``: the URL without query and fragment, scheme and host in their normal form.

    Raises:
        InvalidInput: Not an absolute http or https URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput("not a URL") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise InvalidInput("an absolute http or https URL is needed")
    # urlsplit drops them silently: one URL, many spellings.
    if "@" in parts.netloc or " " in url or not url.isprintable():
        raise InvalidInput("a URL with user information, spaces or control characters is no target")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path or '/'}"


def make(key: KeyPair, method: str, url: str, *, token: str | None, now: float, jti: str) -> str:
    """A proof that the holder of the key makes this very request.

    Args:
        key: The user's nkey.
        method: The HTTP method.
        url: The URL that is really called.
        token: The token presented in the Authorization header, if one is.
        now: Seconds since the epoch.
        jti: Unpredictable and never used before.
    """
    header = {
        "typ": "dpop+jwt",
        "alg": "EdDSA",
        "jwk": {"kty": "OKP", "crv": "Ed25519", "x": jose.b64encode(key.public.raw)},
    }
    payload: dict[str, Any] = {"jti": jti, "htm": method, "htu": target(url), "iat": int(now)}
    if token is not None:
        payload["ath"] = token_hash(token)
    text = f"{jose.b64encode(jose.dumps(header))}.{jose.b64encode(jose.dumps(payload))}"
    return f"{text}.{jose.b64encode(key.sign(text.encode('ascii')))}"


def verify(
    proof: str,
    *,
    method: str,
    urls: Collection[str],
    token: str | None,
    now: float,
    window: float = WINDOW_SECONDS,
) -> Proof:
    """Check a proof against the request it came with; the replay check is the caller's.

    Args:
        proof: The ``DPoP`` header's value.
        method: The request's HTTP method.
        urls: Every ``target`` form under which this route is known.
        token: The token of the Authorization header, if there was one.
        now: Seconds since the epoch.
        window: How many seconds ``iat`` may be away from now, either way.

    Raises:
        InvalidProof: It does not hold; ``reason`` says why.
    """
    if len(proof) > _MAX_PROOF_CHARS:
        raise InvalidProof("proof: too long")
    try:
        jws = jose.split_unread(proof)
        public_key = _known_key(jws.header)
    except InvalidInput as error:
        raise InvalidProof(f"proof: {error}") from error
    if not public_key.verify(jws.signing_input, jws.signature):
        raise InvalidProof("proof: the signature does not hold")
    claims = jws.payload
    if claims.get("htm") != method:
        raise InvalidProof("proof: htm is another method")
    _check_target(claims.get("htu"), urls)
    issued_at = claims.get("iat")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float):
        raise InvalidProof("proof: iat is missing or no number")
    if not abs(now - issued_at) <= window:
        raise InvalidProof(f"proof: iat is {now - issued_at:.0f} s away from now")
    if token is not None and claims.get("ath") != token_hash(token):
        raise InvalidProof("proof: ath is not the hash of the token presented")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI_CHARS:
        raise InvalidProof("proof: jti is missing, empty or too long")
    return Proof(public_key, jti, float(issued_at))


@lru_cache(maxsize=_KNOWN_HEADERS)
def _known_key(header: str) -> PublicKey:
    return _public_key(jose.loads(jose.b64decode(header)))


def _public_key(header: dict[str, Any]) -> PublicKey:
    if header.get("typ") != "dpop+jwt":
        raise InvalidProof("proof: typ is not dpop+jwt")
    if header.get("alg") not in _ALGORITHMS:
        raise InvalidProof("proof: alg is not EdDSA or Ed25519")
    if "crit" in header or "b64" in header:
        raise InvalidProof("proof: crit and b64 are not understood")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict) or jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise InvalidProof("proof: jwk is not an Ed25519 key")
    if "d" in jwk:
        raise InvalidProof("proof: jwk holds a private key; make a new one, this one is known now")
    x = jwk.get("x")
    raw = jose.b64decode(x) if isinstance(x, str) else b""
    # Keys that are not canonical or of small order, with which one signature holds for many
    # messages, are refused by libsodium's verification itself (tests/test_dpop.py shows it).
    return PublicKey(Prefix.USER, raw)


def _check_target(htu: object, urls: Collection[str]) -> None:
    # The common spelling first: parsing a URL costs more than comparing one.
    if isinstance(htu, str) and htu in urls:
        return
    try:
        # RFC 9449 4.3: query and fragment are ignored, the rest is compared normalised.
        if isinstance(htu, str) and target(htu) in urls:
            return
    except InvalidInput:
        pass
    raise InvalidProof("proof: htu is not this route")
