"""Tokens and keys: those whose signature does not hold, and those that are signed after all.

A changed token is refused by its signature and shows no more. So those of the second kind change
the claims, or the header, and sign what came out: what reads claims has to bear any of them.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authsvc import dpop, jose, nkey, xkey
from authsvc.claims import (
    AccountClaims,
    AuthorizationRequestClaims,
    Claims,
    Export,
    Import,
    OperatorClaims,
    UserClaims,
    UserScope,
    decode,
    encode,
    format_creds,
    parse_creds,
    validate,
)
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.callout.question import XKEY_HEADER, read_question
from authsvc.server.login.oidc import OidcLogin
from authsvc.server.login.provider import Provider, _prepare, _read_keys
from authsvc.server.login.syftbox_secret import SyftboxSecret
from authsvc.server.login.token import UnverifiedToken
from authsvc.server.sessions.authorize import read_jwt
from tests.security.decoders.decoder import Decoder, as_text

NOW = 1_700_000_000
URL = "https://auth.example/v1/credentials"
SECRET = "a secret of the SyftBox server, long enough"
USER, ACCOUNT, OPERATOR, SERVER = (
    KeyPair(prefix, bytes([prefix]) * 32)
    for prefix in (Prefix.USER, Prefix.ACCOUNT, Prefix.OPERATOR, Prefix.SERVER)
)
CURVE, ASKING = xkey.CurveKey(bytes(range(32))), xkey.CurveKey(bytes(range(1, 33)))
JWT = encode(
    UserClaims(
        subject=USER.public.text,
        name="a",
        issued_at=NOW,
        tags=("credential:crd_1",),
        expires=NOW + 9,
    ),
    ACCOUNT,
)
_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}


def _payload(token: str) -> bytes:
    return jose.b64decode(token.split(".")[1])


def _header(token: str) -> bytes:
    return jose.b64decode(token.partition(".")[0])


def signed(header: bytes, payload: bytes, sign: Callable[[bytes], bytes]) -> str:
    """A token with a signature that holds, whatever is in it."""
    text = f"{jose.b64encode(header)}.{jose.b64encode(payload)}"
    return f"{text}.{jose.b64encode(sign(text.encode()))}"


def _claims(key: KeyPair) -> Callable[[bytes], object]:
    """Decode, look through, and write again what was read."""
    header = jose.dumps(_HEADER)

    def read(data: bytes) -> object:
        claims = decode(signed(header, data, key.sign))
        validate(claims, NOW)
        # Go's library reads more than it would write: a refusal is one too.
        return decode(encode(claims, key))

    return read


def _proof(text: str) -> object:
    return dpop.verify(text, method="POST", urls=[URL], token=None, now=NOW)


PROOF = dpop.make(USER, "POST", URL, token=None, now=NOW, jti="x")
_ACCESS = {"type": "access", "sub": "a@x.com", "exp": NOW + 60, "iat": NOW, "iss": "i"}
_HS256 = b'{"alg":"HS256","typ":"JWT"}'


def _mac(data: bytes) -> bytes:
    return hmac.digest(SECRET.encode(), data, "sha256")


def finished(running: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing."""
    try:
        running.send(None)
    except StopIteration as end:
        return end.value
    running.close()
    raise AssertionError("it waits for something")


def _access(header: bytes, payload: bytes) -> object:
    return finished(SyftboxSecret(SECRET).verify(signed(header, payload, _mac), NOW))


_PROVIDER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "k1",
    "x": jose.b64encode(_PROVIDER_KEY.public_key().public_bytes_raw()),
}
_RSA = {"kty": "RSA", "kid": "k2", "alg": "RS256", "n": jose.b64encode(b"\xc5" * 256), "e": "AQAB"}
_EC = {
    "kty": "EC",
    "kid": "k3",
    "crv": "P-256",
    "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
    "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
}
_JWKS = json.dumps({"keys": [_JWK, _RSA, _EC]}).encode()
_ID = {
    "iss": "https://op.example",
    "aud": ["authsvc"],
    "email": "a@x.com",
    "email_verified": True,
    "exp": NOW + 60,
    "iat": NOW,
}


def _oidc() -> OidcLogin:
    provider = Provider("https://op.example", clock=lambda: 0.0)
    provider._keys = _read_keys(jose.loads(_JWKS))
    provider._fetched_at = provider._tried_at = 0.0
    return OidcLogin(provider, audience="authsvc", algorithms=("EdDSA",))


_LOGIN = _oidc()


def _identity(header: bytes, payload: bytes) -> object:
    return finished(_LOGIN.verify(signed(header, payload, _PROVIDER_KEY.sign), NOW))


def _keys(data: bytes) -> object:
    shapes = ("RS256", "ES256", "ES512", "EdDSA")
    return [_prepare(key, alg) for key in _read_keys(jose.loads(data)) for alg in shapes]


def _document(data: bytes) -> object:
    document = jose.loads(data)
    return [_LOGIN.provider._url(document, name, needed=False) for name in sorted(document)]


_REQUEST = AuthorizationRequestClaims(
    subject=ACCOUNT.public.text, audience="nats-authorization-request", issued_at=NOW
)
_REQUEST.expires = NOW + 2
_REQUEST.user_nkey = USER.public.text
_REQUEST.server.id, _REQUEST.server.xkey = SERVER.public.text, ASKING.public
_REQUEST.connect.password = "secret"


def _question(data: bytes) -> object:
    token = signed(jose.dumps(_HEADER), data, SERVER.sign)
    return read_question(
        ASKING.seal(token.encode(), CURVE.public),
        {XKEY_HEADER: ASKING.public},
        xkey=CURVE,
        account=ACCOUNT.public.text,
        now=NOW,
    )


def _caller(data: bytes) -> object:
    jwt = signed(jose.dumps(_HEADER), data, ACCOUNT.sign)
    return read_jwt(jwt, dpop.Proof(USER.public, "x", NOW))


def _account() -> AccountClaims:
    claims = AccountClaims(subject=ACCOUNT.public.text, name="APP", issued_at=NOW)
    claims.exports.append(Export(name="e", subject="a.>", type="stream"))
    claims.imports.append(
        Import(name="i", subject="b.*", account=ACCOUNT.public.text, type="service")
    )
    claims.signing_keys[ACCOUNT.public.text] = UserScope(key=ACCOUNT.public.text, role="r")
    claims.revocations["*"] = NOW
    return claims


def _written(claims: Claims, key: KeyPair) -> bytes:
    return _payload(encode(claims, key))


DECODERS: dict[str, Decoder] = {
    "base64url": Decoder(jose.b64decode, (b"AAAA", b"_-8")),
    "JSON": Decoder(jose.loads, (b'{"a":[1,{"b":null}],"c":"\\u00e9"}',)),
    "JWS": Decoder(as_text(jose.split), (JWT.encode(),)),
    "proof": Decoder(as_text(_proof), (PROOF.encode(),)),
    "proof's claims, signed": Decoder(
        lambda data: _proof(signed(_header(PROOF), data, USER.sign)), (_payload(PROOF),)
    ),
    "proof's header, signed": Decoder(
        lambda data: _proof(signed(data, _payload(PROOF), USER.sign)), (_header(PROOF),)
    ),
    "target": Decoder(as_text(dpop.target), (URL.encode(), b"http://[::1]:80/a?b#c")),
    "access token": Decoder(
        as_text(lambda text: UnverifiedToken.parse(text, time.time())),
        (
            b"eyJhbGciOiJIUzI1NiJ9.eyJ0eXBlIjoiYWNjZXNzIiwic3ViIjoiYUB4IiwiZXhwIjo5OTk5OTk5OTk5fQ.AA",
        ),
    ),
    "access token's claims, signed": Decoder(
        lambda data: _access(_HS256, data), (jose.dumps(_ACCESS),)
    ),
    "access token's header, signed": Decoder(
        lambda data: _access(data, jose.dumps(_ACCESS)), (_HS256,)
    ),
    "ID token's claims, signed": Decoder(
        lambda data: _identity(b'{"alg":"EdDSA","kid":"k1"}', data), (jose.dumps(_ID),)
    ),
    "ID token's header, signed": Decoder(
        lambda data: _identity(data, jose.dumps(_ID)), (b'{"alg":"EdDSA","kid":"k1","typ":"JWT"}',)
    ),
    "JWKS": Decoder(_keys, (_JWKS,)),
    "discovery": Decoder(
        _document, (b'{"jwks_uri":"https://op.example/k","token_endpoint":"https://op.example/t"}',)
    ),
    "NATS JWT": Decoder(as_text(decode), (JWT.encode(),)),
    "NATS JWT's header, signed": Decoder(
        lambda data: decode(signed(data, _payload(JWT), ACCOUNT.sign)), (_header(JWT),)
    ),
    "user's claims, signed": Decoder(_claims(ACCOUNT), (_payload(JWT),)),
    "account's claims, signed": Decoder(_claims(OPERATOR), (_written(_account(), OPERATOR),)),
    "operator's claims, signed": Decoder(
        _claims(OPERATOR),
        (
            _written(
                OperatorClaims(subject=OPERATOR.public.text, name="o", issued_at=NOW), OPERATOR
            ),
        ),
    ),
    "callout's question, signed": Decoder(_question, (_written(_REQUEST, SERVER),)),
    "caller's claims, signed": Decoder(_caller, (_payload(JWT),)),
    "creds": Decoder(as_text(parse_creds), (format_creds(JWT, USER).encode(),)),
    "public nkey": Decoder(as_text(nkey.PublicKey.parse), (USER.public.text.encode(),)),
    "seed": Decoder(as_text(KeyPair.from_seed), (USER.seed.encode(),)),
    "seed as bytes": Decoder(KeyPair.from_seed, (USER.seed.encode(),)),
    "curve seed": Decoder(as_text(xkey.CurveKey.from_seed), (CURVE.seed.encode(),)),
    "sealed": Decoder(
        lambda data: CURVE.open(data, CURVE.public), (CURVE.seal(b"a question", CURVE.public),)
    ),
    "sealed by": Decoder(
        as_text(lambda text: CURVE.seal(b"an answer", text)), (CURVE.public.encode(),)
    ),
}
