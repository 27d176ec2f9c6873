"""Listing credentials and revoking them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import NotFound
from authsvc.server import audit
from authsvc.server.models import Credential
from authsvc.server.provision.revisions import Cut, note_revocations, raise_revision
from authsvc.server.sessions.supersede import has_room, hold_permissions, supersede_everybody

__all__ = ["credential_state", "list_credentials", "revoke_all", "revoke_credential"]

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
    await _revoke(session, [credential], account_id=account_id, context=context, now=now)
    return credential


async def revoke_all(
    session: AsyncSession,
    user_id: str,
    *,
    account_id: str,
    context: audit.Context,
    now: float,
    before: int | None = None,
) -> int:
    """End every nkey that a user has, for ever.

    Args:
        session: Writing; the edge commits.
        user_id: Whose.
        account_id: The account whose JWT carries the revocations.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        before: Only nkeys whose first credential was issued before this moment, in seconds
            since the epoch. One that was only renewed since is among them: who had the key then
            has it now.

    Returns:
        How many there were.
    """
    statement = (
        select(Credential)
        .where(col(Credential.user_id) == user_id)
        .where(col(Credential.revoked_at).is_(None))
        # In the order in which the desk locks them.
        .order_by(col(Credential.public_key))
        .with_for_update()
    )
    if before is not None:
        statement = statement.where(col(Credential.created_at) < before)
    found = list(await session.scalars(statement))
    await _revoke(session, found, account_id=account_id, context=context, now=now)
    return len(found)


async def _revoke(
    session: AsyncSession,
    credentials: Sequence[Credential],
    *,
    account_id: str,
    context: audit.Context,
    now: float,
) -> None:
    second, events = int(now), []
    for credential in credentials:
        credential.revoked_at = second
        details = {"public_key": credential.public_key, "user_id": credential.user_id}
        events.append(
            audit.event(
                context,
                "credential.revoke",
                "credential",
                credential.id,
                details,
                int(now * 1000),
            )
        )
    cuts = [
        # A JWT may be of a later second than this one, after a supersession or on a replica
        # whose clock is ahead; nats-server compares with iat, inclusive.
        Cut(credential.public_key, max(second, credential.issued_at), credential.alive_until)
        for credential in credentials
        if credential.alive_until >= second
    ]
    if not cuts or await has_room(session, account_id, len(cuts), second):
        await note_revocations(session, cuts, account_id=account_id, now=second)
    else:
        await hold_permissions(session)
        await raise_revision(session, account_id)
        moment = max(cut.revoked_at for cut in cuts)
        await supersede_everybody(session, account_id, max(moment, second), second)
    await audit.append(session, events)
