"""Claims to signed JWTs and back, byte for byte as github.com/nats-io/jwt/v2 writes them.

    token = encode(UserClaims(subject=..., issued_at=...), account_signing_key)
    claims = decode_user(token)     # the signature by the issuer named inside holds; no more

A decoded JWT proves only that its issuer made it. Whether that issuer may be believed is for
the caller to say.

Source: https://github.com/nats-io/jwt (claims.go, decoder.go, header.go).
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

from authsvc import jose
from authsvc.claims import members
from authsvc.claims.account import AccountClaims
from authsvc.claims.activation import ActivationClaims
from authsvc.claims.authorization import (
    AuthorizationRequestClaims,
    AuthorizationResponseClaims,
)
from authsvc.claims.common import VERSION, Claims
from authsvc.claims.generic import GenericClaims
from authsvc.claims.operator import OperatorClaims
from authsvc.claims.report import is_key
from authsvc.claims.user import UserClaims
from authsvc.errors import ClaimsTooLarge, InvalidClaims, InvalidInput, InvalidKey
from authsvc.nkey import KeyPair, PublicKey, base32

__all__ = [
    "MAX_JWT_BYTES",
    "MAX_USER_JWT_BYTES",
    "decode",
    "decode_account",
    "decode_operator",
    "decode_user",
    "encode",
    "says",
]

MAX_USER_JWT_BYTES = 3500
MAX_JWT_BYTES = 1 << 20

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_HEADER_TEXT = jose.b64encode(members.dumps(_HEADER)) + "."
_HEADER_NAMES = frozenset(_HEADER)
_SIGNATURE_CHARS = 1 + 86  # the point, and 64 bytes in base64url
_KINDS: dict[str, type[Claims]] = {
    kind.KIND: kind
    for kind in (
        UserClaims,
        AccountClaims,
        OperatorClaims,
        ActivationClaims,
        AuthorizationRequestClaims,
        AuthorizationResponseClaims,
    )
}
_DIGEST = hashlib.new("sha512_256")

C = TypeVar("C", bound=Claims)


def encode(claims: Claims, key: KeyPair, max_bytes: int = MAX_JWT_BYTES) -> str:
    """Sign claims; sets their ``issuer`` and ``id``. ``issued_at`` is the caller's.

    Args:
        claims: What to sign. They are not validated: see ``ensure_valid``.
        key: The issuer's key.
        max_bytes: How long the JWT may become.

    Raises:
        ClaimsTooLarge: It would be longer; nothing was signed.
        InvalidClaims: The subject or the key is of the wrong kind, or JSON can't carry a value.
    """
    if key.prefix not in claims.ISSUERS and claims.ISSUERS:
        raise InvalidClaims(f"a key of the kind {key.prefix.name.lower()} can't sign {claims.KIND}")
    _check_subject(claims)
    claims.issuer = key.public.text
    shared = members.dumps(_shared(claims))
    digest = _DIGEST.copy()
    digest.update(shared)
    claims.id = base32(digest.digest())
    # What was written for the hash is written: jti goes before the member that follows it, nats
    # to the end. No text inside can hold the marker, for its quotes would be escaped.
    place = shared.index(b'"iat":' if claims.issued_at else b'"iss":')
    payload = b'%s"jti":"%s",%s,"nats":%s}' % (
        shared[:place],
        claims.id.encode("ascii"),
        shared[place:-1],
        members.dumps(claims.body()),
    )
    text = _HEADER_TEXT + jose.b64encode(payload)
    size = len(text) + _SIGNATURE_CHARS
    if size > max_bytes:
        raise ClaimsTooLarge(f"the JWT would have {size} bytes, {max_bytes} at most")
    return f"{text}.{jose.b64encode(key.sign(text.encode('ascii')))}"


def _shared(claims: Claims) -> dict[str, Any]:
    """The shared members but ``jti``, in the order Go writes them in."""
    start: dict[str, Any] = {}
    if claims.audience:
        start["aud"] = claims.audience
    if claims.expires:
        start["exp"] = claims.expires
    if claims.issued_at:
        start["iat"] = claims.issued_at
    start["iss"] = claims.issuer
    if claims.name:
        start["name"] = claims.name
    if claims.not_before:
        start["nbf"] = claims.not_before
    start["sub"] = claims.subject
    return start


def decode(token: str) -> Claims:
    """Read a JWT of any kind and check the signature by the issuer that it names.

    Raises:
        InvalidClaims: It does not hold, for whatever reason.
    """
    try:
        return _open(token)
    except InvalidClaims:
        raise
    except InvalidKey as error:
        raise InvalidClaims(f"the issuer of the JWT is {error}") from error
    except InvalidInput as error:
        raise InvalidClaims(f"not a NATS JWT: {error}") from error


def says(token: str, payload: bytes) -> bool:
    """Whether a JWT that was just signed says this and nothing else, to the last byte.

    Its signature is not looked into: verifying costs more than twice what signing does. That a key
    signs well is for whoever opens it to see, once; whoever receives the JWT sees it again.

    Args:
        token: From ``encode``.
        payload: JSON.
    """
    signed, _, signature = token.rpartition(".")
    # Bytes have one spelling in base64url.
    wanted = _HEADER_TEXT + jose.b64encode(payload)
    return signed == wanted and len(signature) == _SIGNATURE_CHARS - 1


def _open(token: str) -> Claims:
    if len(token) > MAX_JWT_BYTES:
        raise InvalidClaims("not a NATS JWT: longer than 1 MiB")
    jws = jose.split(token)
    _check_header(jws.header)
    issuer = PublicKey.parse(members.text(jws.payload, "iss"))
    if not issuer.verify(jws.signing_input, jws.signature):
        raise InvalidClaims("the signature of the JWT does not hold")
    claims = _read(jws.payload)
    if claims.ISSUERS and issuer.prefix not in claims.ISSUERS:
        raise InvalidClaims(f"a key of the kind {issuer.prefix.name.lower()} can't sign this")
    return claims


def _check_header(header: dict[str, Any]) -> None:
    members.known(header, _HEADER_NAMES)
    if header.get("typ") != "JWT" or header.get("alg") != "ed25519-nkey":
        raise InvalidClaims("not a NATS JWT: its header is not of typ JWT and alg ed25519-nkey")
    if "crit" in header:
        raise InvalidClaims("not a NATS JWT: its header has crit, which is not understood")


def _read(payload: dict[str, Any]) -> Claims:
    nats = members.child(payload, "nats")
    if members.integer(nats, "version") != VERSION:
        raise InvalidClaims(f"the JWT is not of version {VERSION}")
    # Go's library, too, takes every kind that it does not know for a generic one.
    kind = _KINDS.get(members.text(nats, "type"), GenericClaims)
    claims = kind.read(payload, nats)
    _check_subject(claims)
    return claims


def _check_subject(claims: Claims) -> None:
    if claims.SUBJECTS and not is_key(claims.subject, *claims.SUBJECTS):
        raise InvalidClaims(f"the subject is not a public key of the kind {claims.KIND}")
    if not claims.subject:
        raise InvalidClaims("the claims have no subject")


def _decode(token: str, kind: type[C]) -> C:
    claims = decode(token)
    if not isinstance(claims, kind):
        raise InvalidClaims(f"the JWT is of the kind {claims.KIND}, not {kind.KIND}")
    return claims


def decode_user(token: str) -> UserClaims:
    """Read a user JWT; see ``decode``.

    Raises:
        InvalidClaims: It does not hold, or is of another kind.
    """
    return _decode(token, UserClaims)


def decode_account(token: str) -> AccountClaims:
    """Read an account JWT; see ``decode``.

    Raises:
        InvalidClaims: It does not hold, or is of another kind.
    """
    return _decode(token, AccountClaims)


def decode_operator(token: str) -> OperatorClaims:
    """Read an operator JWT; see ``decode``.

    Raises:
        InvalidClaims: It does not hold, or is of another kind.
    """
    return _decode(token, OperatorClaims)
