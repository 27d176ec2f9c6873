"""Believing a NATS user JWT as authorization for the user's own routes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import UserClaims, decode_user
from authsvc.dpop import Proof
from authsvc.errors import InvalidClaims, InvalidToken, UserDisabled
from authsvc.server.issuer import credential_id
from authsvc.server.models import Credential, User
from authsvc.server.sessions.signing import SigningDesk

__all__ = ["Caller", "authorize", "read_jwt"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A user whose JWT and proof of possession held; only ``authorize`` makes one."""

    user_id: str
    username: str
    token: str
    credential: str
    claims: UserClaims
    proof: Proof
    role: str | None = None
    """The scoped role whose template says what the JWT allows, where one does."""
    app: str | None = None
    """The one app that the credential is narrowed to, where it is."""


def read_jwt(jwt: str, proof: Proof) -> tuple[UserClaims, str]:
    """The claims of a NATS user JWT that its own key presents, and its credential's id.

    Its signature holds; whether its signer is trusted is for the database to say.

    Raises:
        InvalidToken: It is none, or belongs to another key.
    """
    try:
        claims = decode_user(jwt)
    except InvalidClaims as error:
        raise InvalidToken(f"user JWT: {error}") from error
    credential = credential_id(claims)
    if credential is None:
        raise InvalidToken("user JWT: it has no credential tag")
    if claims.subject != proof.public_key.text:
        raise InvalidToken("user JWT: the proof was made by another key")
    return claims, credential


async def authorize(
    session: AsyncSession, signing: SigningDesk, jwt: str, proof: Proof, now: float
) -> Caller:
    """The user behind a JWT, if nats-server would let the user in with it.

    Args:
        session: Any; nothing is written.
        signing: The account's signing keys.
        jwt: From the Authorization header.
        proof: The proof of possession that came with it and held.
        now: Seconds since the epoch.

    Raises:
        InvalidToken: Forged, expired, revoked, superseded or of another key.
        UserDisabled: An administrator disabled the user.
    """
    claims, credential = read_jwt(jwt, proof)
    keys = await signing.read(session)
    if claims.issuer not in keys.trusted or claims.issuer_account != keys.issuer.account:
        raise InvalidToken("user JWT: signed by a key that is not trusted")
    if claims.expires and now >= claims.expires:
        raise InvalidToken("user JWT: expired")
    row = (
        await session.execute(
            select(Credential, User)
            .join(User, col(User.id) == col(Credential.user_id))
            .where(col(Credential.id) == credential)
            .where(col(Credential.public_key) == claims.subject)
        )
    ).one_or_none()
    if row is None:
        raise InvalidToken("user JWT: its credential is not known")
    found, user = row
    if user.disabled_at is not None:
        raise UserDisabled(f"{user.username} is disabled; ask an administrator")
    if found.revoked_at is not None:
        raise InvalidToken("user JWT: revoked")
    if claims.issued_at <= max(user.superseded_at or 0, found.superseded_at or 0):
        raise InvalidToken("user JWT: superseded; renew it")
    role = keys.role_of(claims.issuer)
    return Caller(user.id, user.username, user.token, found.id, claims, proof, role, found.app)
