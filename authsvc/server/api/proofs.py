"""Reading the Authorization and DPoP headers of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from starlette.requests import Request

from authsvc import dpop
from authsvc.errors import InvalidProof, InvalidToken

__all__ = ["Presented", "present", "present_key"]

_MAX_TOKEN_CHARS = 8192


class Presented(NamedTuple):
    """A token with a proof of possession that holds; the token itself is not believed yet."""

    token: str
    proof: dpop.Proof


def present(request: Request, scheme: str, origins: Sequence[str], now: float) -> Presented:
    """The token under the scheme, and the proof that came with it.

    Args:
        request: The request.
        scheme: ``bearer`` or ``dpop``, lower case.
        origins: The origins under which this service is known; the Host header is not one.
        now: Seconds since the epoch.

    Raises:
        InvalidToken: No token, two of them, or another scheme.
        InvalidProof: No proof, two of them, or one that does not hold.
    """
    authorization = proof = None
    for name, value in request.scope["headers"]:
        if name == b"authorization":
            if authorization is not None:
                raise InvalidToken("two Authorization headers")
            authorization = value
        elif name == b"dpop":
            if proof is not None:
                raise InvalidProof("two DPoP headers")
            proof = value
    if authorization is None:
        raise InvalidToken("no Authorization header")
    kind, _, token = authorization.decode("latin-1").partition(" ")
    token = token.strip(" ")
    if kind.lower() != scheme or not token:
        raise InvalidToken(f"the authorization scheme {scheme} is needed")
    if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
        raise InvalidToken("the token is too long or not ASCII")
    if proof is None:
        raise InvalidProof("no DPoP header")
    return Presented(token, _held(request, proof, origins, token, now))


def present_key(request: Request, origins: Sequence[str], now: float) -> dpop.Proof:
    """The proof of a request that presents no token: whose nkey it comes from, and no more.

    Args:
        request: The request.
        origins: The origins under which this service is known.
        now: Seconds since the epoch.

    Raises:
        InvalidProof: No proof, two of them, or one that does not hold; or a token beside it.
    """
    proofs = request.headers.getlist("dpop")
    if len(proofs) != 1 or "authorization" in request.headers:
        raise InvalidProof("one DPoP header is needed, and no Authorization header")
    return _held(request, proofs[0].encode("latin-1"), origins, None, now)


def _held(
    request: Request, proof: bytes, origins: Sequence[str], token: str | None, now: float
) -> dpop.Proof:
    path = request.scope.get("raw_path", b"").decode("ascii", "replace") or request.scope["path"]
    return dpop.verify(
        proof.decode("latin-1"),
        method=request.scope["state"].get("method") or request.scope["method"],
        urls=[f"{origin}{path}" for origin in origins],
        token=token,
        now=now,
    )
