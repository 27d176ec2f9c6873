"""From an account's rows to its JWT, signed by the operator's signing key."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import AccountClaims, encode, ensure_valid
from authsvc.errors import AccountFull, KeyUnavailable
from authsvc.nkey import KeyPair
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, Revocation, SigningKey
from authsvc.server.provision import accounts
from authsvc.server.provision.adopted import with_ours
from authsvc.server.provision.ceiling import CEILING_BYTES, warning_for
from authsvc.server.provision.door import door_claims
from authsvc.server.provision.role_scopes import role_scopes

__all__ = ["make_account_jwt", "operator_signing_key"]

log = structlog.get_logger("authsvc.accounts")


async def operator_signing_key(session: AsyncSession, keystore: Keystore) -> KeyPair:
    """The operator's active signing key.

    Raises:
        KeyUnavailable: There is none here, or it can't be opened.
    """
    row = await session.scalar(
        select(SigningKey)
        .where(col(SigningKey.owner) == "operator")
        .where(col(SigningKey.purpose) == "signing")
        .where(col(SigningKey.state) == "active")
        .order_by(col(SigningKey.generation).desc())
        .limit(1)
    )
    if row is None:
        raise KeyUnavailable("the operator has no active signing key here")
    return keystore.open(row.sealed_seed, row.public_key)


async def make_account_jwt(
    session: AsyncSession,
    keystore: Keystore,
    account: Account,
    now: int,
    *,
    newer_than: int = 0,
) -> None:
    """Make the account's JWT from its rows; its row must be locked.

    That of an adopted account stays as its owner made it.

    Args:
        session: Writing; the edge commits.
        keystore: Opens the operator's signing key.
        account: The locked row; its ``jwt``, ``issued_at`` and ``published_revision`` are set.
        now: Seconds since the epoch; ``iat`` is this or one more than the last one.
        newer_than: An ``iat`` that somebody else's JWT of this account has; ours is above it.

    Raises:
        AccountFull: It would be larger than nats-server takes.
        KeyUnavailable: The operator's signing key can't be used.
        InvalidClaims: The account would not be valid.
    """
    if account.kind == "adopted":
        account.published_revision = account.revision
        await session.flush()
        return
    keys = await session.scalars(
        select(col(SigningKey.public_key))
        .where(col(SigningKey.account_id) == account.id)
        .where(col(SigningKey.purpose) == "signing")
        .where(col(SigningKey.state) != "retired")
        .order_by(col(SigningKey.public_key))
    )
    # An entry is needless once every JWT that it could hit has expired.
    await session.execute(
        delete(Revocation)
        .where(col(Revocation.account_id) == account.id)
        .where(col(Revocation.expires_at) < now)
    )
    rows = await session.execute(
        select(col(Revocation.public_key), col(Revocation.revoked_at)).where(
            col(Revocation.account_id) == account.id
        )
    )
    issued_at = max(now, account.issued_at + 1, newer_than + 1)
    claims = await _claims(
        session,
        account,
        list(keys),
        {row.public_key: row.revoked_at for row in rows},
        issued_at,
        keystore=keystore,
    )
    ensure_valid(claims, issued_at)
    signer = await operator_signing_key(session, keystore)
    jwt = encode(claims, signer)
    if len(jwt) > CEILING_BYTES:
        raise AccountFull(f"the JWT of account {account.name} would have {len(jwt)} bytes")
    if warning := warning_for(len(jwt), before=len(account.jwt)):
        log.warning(warning, account=account.public_key)
    account.jwt = jwt
    account.issued_at = issued_at
    account.published_revision = account.revision
    await session.flush()


async def _claims(
    session: AsyncSession,
    account: Account,
    signing_keys: list[str],
    revocations: dict[str, int],
    issued_at: int,
    *,
    keystore: Keystore,
) -> AccountClaims:
    common: dict[str, Any] = {
        "subject": account.public_key,
        "name": account.name,
        "signing_keys": signing_keys,
        "revocations": revocations,
        "issued_at": issued_at,
    }
    if account.adopted_jwt:
        return await with_ours(session, account, signing_keys, revocations, issued_at)
    if account.kind == "system":
        return accounts.system_account(**common)
    if account.kind == "door":
        return await door_claims(session, keystore, account, common)
    if account.kind == "mail":
        return accounts.mail_account(**common)
    mail = await session.scalar(select(col(Account.public_key)).where(col(Account.kind) == "mail"))
    if mail is None:
        raise KeyUnavailable("there is no mail account")
    scopes = await role_scopes(session, account.id)
    return accounts.people_account(mail_account=mail, scopes=scopes, **common)
