"""Listing credentials and revoking them."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import NotFound
from authsvc.server import audit
from authsvc.server.models import Credential
from authsvc.server.provision.revisions import note_revocation

__all__ = ["credential_state", "list_credentials", "revoke_credential"]

State = Literal["active", "expired", "revoked"]


def credential_state(credential: Credential, now: float) -> State:
    """What has become of a credential by now (seconds since the epoch)."""
    if credential.revoked_at is not None:
        return "revoked"
    return "active" if now < credential.expires_at else "expired"


async def list_credentials(
    session: AsyncSession, user_id: str, *, limit: int, after: str | None = None
) -> list[Credential]:
    """A user's credentials, newest first.

    Args:
        session: Any.
        user_id: Whose.
        limit: How many at most.
        after: The id of the last one that was seen; ids sort by their time of creation.
    """
    statement: Any = select(Credential).where(col(Credential.user_id) == user_id)
    if after is not None:
        statement = statement.where(col(Credential.id) < after)
    statement = statement.order_by(col(Credential.id).desc()).limit(limit)
    return list(await session.scalars(statement))


async def revoke_credential(
    session: AsyncSession,
    credential_id: str,
    *,
    account_id: str,
    context: audit.Context,
    now: float,
    user_id: str | None = None,
) -> Credential:
    """End an nkey for ever, and with it every JWT it has; revoking twice changes nothing.

    Args:
        session: Writing; the edge commits.
        credential_id: Which.
        account_id: The account whose JWT carries the revocation.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        user_id: The only user whose credentials may be revoked here, if not all.

    Raises:
        NotFound: There is no such credential, or not of that user.
    """
    credential = None
    if credential_id.isprintable():  # PostgreSQL takes no NUL
        credential = await session.get(Credential, credential_id, with_for_update=True)
    if credential is None or (user_id is not None and credential.user_id != user_id):
        raise NotFound(f"there is no credential {credential_id}")
    if credential.revoked_at is not None:
        return credential
    credential.revoked_at = int(now)
    await note_revocation(
        session,
        account_id=account_id,
        public_key=credential.public_key,
        # A JWT may be of a later second than this one, after a supersession or on a replica
        # whose clock is ahead; nats-server compares with iat, inclusive.
        revoked_at=max(int(now), credential.issued_at),
        expires_at=credential.alive_until,
        now=int(now),
    )
    details = {"public_key": credential.public_key, "user_id": credential.user_id}
    await audit.append(
        session,
        [
            audit.event(
                context,
                "credential.revoke",
                "credential",
                credential.id,
                details,
                int(now * 1000),
            )
        ],
    )
    return credential
