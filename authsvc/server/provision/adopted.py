"""Accounts that were on NATS before this service, and stay with who made them.

Their owner goes on making their JWTs, with ``nsc`` for example, and pushes them. The service keeps
the newest one byte for byte, brings it to servers that lack it, and takes over a newer one that a
key of the operator's signed. The system account alone gets something added: the signing keys that
are the service's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import AccountClaims, OperatorClaims, decode_account, decode_operator
from authsvc.errors import InvalidClaims
from authsvc.server import audit
from authsvc.server.models import Account, Operator, SigningKey
from authsvc.server.provision.revisions import raise_revision

__all__ = ["Newer", "account_signers", "adopted_ids", "follow", "newest", "with_ours"]

_FARTHEST = 1 << 53
_ITSELF = audit.Context(audit.Actor("service", "authsvc"), "", "")


class Newer(NamedTuple):
    """An account JWT, and what it says."""

    jwt: str
    claims: AccountClaims


def account_signers(operator: OperatorClaims) -> set[str]:
    """The public keys that may sign accounts for the operator."""
    signers = set(operator.signing_keys)
    return signers if operator.strict_signing_key_usage else signers | {operator.subject}


def newest(
    public_key: str, issued_at: int, found: Iterable[str], signers: set[str]
) -> Newer | None:
    """The newest of the account's JWTs that its operator signed.

    Args:
        public_key: The account's.
        issued_at: Only newer ones count.
        found: What servers hold.
        signers: See ``account_signers``.
    """
    best = None
    for jwt in set(found):
        try:
            claims = decode_account(jwt)
        except InvalidClaims:
            continue
        if claims.subject != public_key or claims.issuer not in signers:
            continue
        if issued_at < claims.issued_at < _FARTHEST:
            best, issued_at = Newer(jwt, claims), claims.issued_at
    return best


async def adopted_ids(session: AsyncSession) -> frozenset[str]:
    """The ids of all adopted accounts, the system account among them if it is one."""
    return frozenset(
        await session.scalars(select(col(Account.id)).where(col(Account.adopted_jwt) != ""))
    )


async def follow(session: AsyncSession, account_id: str, found: Iterable[str]) -> bool:
    """Take over what the account's owner made since.

    Args:
        session: Writing; the edge commits.
        account_id: An adopted account.
        found: What servers hold.

    Returns:
        Whether there was something.
    """
    account = await session.get_one(Account, account_id, with_for_update=True)
    operator = decode_operator((await session.scalars(select(col(Operator.jwt)))).one())
    better = newest(account.public_key, account.issued_at, found, account_signers(operator))
    if better is None:
        return False
    account.jwt = account.adopted_jwt = better.jwt
    account.name = better.claims.name
    account.issued_at = better.claims.issued_at
    await session.flush()
    if not await _complete(session, account, better.claims):
        await raise_revision(session, account.id)
    details = {"issued_at": better.claims.issued_at, "issuer": better.claims.issuer}
    at = int(time.time() * 1000)
    event = audit.event(_ITSELF, "account.follow", "account", account.public_key, details, at)
    await audit.append(session, [event])
    return True


async def _complete(session: AsyncSession, account: Account, claims: AccountClaims) -> bool:
    """Whether the JWT has the keys that the service signs with."""
    rows = await session.execute(
        select(col(SigningKey.public_key), col(SigningKey.state))
        .where(col(SigningKey.account_id) == account.id)
        .where(col(SigningKey.purpose) == "signing")
    )
    return all(
        (row.public_key in claims.signing_keys) == (row.state != "retired")
        for row in rows
        if row.public_key != account.public_key
    )


async def with_ours(
    session: AsyncSession,
    account: Account,
    signing_keys: Iterable[str],
    revocations: Mapping[str, int],
    issued_at: int,
) -> AccountClaims:
    """The claims of an adopted account with the service's own keys in place.

    Args:
        session: Any.
        account: The adopted account.
        signing_keys: The service's own that are in use.
        revocations: The service's own.
        issued_at: Seconds since the epoch.
    """
    retired = set(
        await session.scalars(
            select(col(SigningKey.public_key))
            .where(col(SigningKey.account_id) == account.id)
            .where(col(SigningKey.state) == "retired")
        )
    )
    claims = decode_account(account.adopted_jwt)
    # The account's identity key signs for it without being listed.
    ours = [key for key in signing_keys if key != account.public_key]
    kept = {key: scope for key, scope in claims.signing_keys.items() if key not in retired}
    claims.signing_keys = dict.fromkeys(ours) | kept
    for key, moment in revocations.items():
        claims.revocations[key] = max(moment, claims.revocations.get(key, 0))
    claims.issued_at = issued_at
    return claims
