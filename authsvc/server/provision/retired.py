"""Signing keys that an account's newer JWT does not list: they were retired, and stay so."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import AccountClaims
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.keystore import Keystore, verify_master_key
from authsvc.server.models import Account, Role, SigningKey, key_slot, new_id

__all__ = ["retire_missing"]


async def retire_missing(
    session: AsyncSession, keystore: Keystore, account: Account, newest: AccountClaims, now: int
) -> tuple[list[str], list[str]]:
    """Retire the account's signing keys that are not in its newest JWT.

    What was made since is in that JWT and its private key is lost: whoever has a JWT by it logs in
    again. A role whose key was retired is no longer scoped; its grants stay.

    Args:
        session: Writing; the edge commits.
        keystore: Seals a new key where none is left that signs.
        account: Not an adopted one.
        newest: Its newest JWT.
        now: Seconds since the epoch.

    Returns:
        The public keys that were retired, and those that were made.

    Raises:
        KeyUnavailable: A new one can't be sealed.
    """
    rows = await session.scalars(
        select(SigningKey)
        .where(col(SigningKey.account_id) == account.id)
        .where(col(SigningKey.purpose).in_(("signing", "role")))
        .where(col(SigningKey.state) != "retired")
        .order_by(col(SigningKey.generation))
        .with_for_update()
    )
    keys = list(rows)
    retired = [key for key in keys if key.public_key not in newest.signing_keys]
    for key in retired:
        key.state, key.retired_at, key.sealed_seed = "retired", now, b""
    roles = [key.public_key for key in retired if key.purpose == "role"]
    if roles:
        await session.execute(delete(Role).where(col(Role.public_key).in_(roles)))
    await session.flush()
    left = [key for key in keys if key.purpose == "signing" and key.state != "retired"]
    made = []
    if not any(key.state == "active" for key in left):
        if left:
            left[-1].state, left[-1].activated_at = "active", now
        else:
            made.append(await _make(session, keystore, account, now))
    await session.flush()
    return [key.public_key for key in retired], made


async def _make(session: AsyncSession, keystore: Keystore, account: Account, now: int) -> str:
    await verify_master_key(session, keystore, hold=True)  # so that it seals by today's
    pair, slot = KeyPair.generate(Prefix.ACCOUNT), key_slot("account", "signing", account.id)
    generations = select(func.max(col(SigningKey.generation))).where(col(SigningKey.slot) == slot)
    session.add(
        SigningKey(
            id=new_id("key"),
            public_key=pair.public.text,
            owner="account",
            account_id=account.id,
            purpose="signing",
            slot=slot,
            generation=(await session.scalar(generations) or 0) + 1,
            name=f"{account.name} signing key",
            sealed_seed=keystore.seal(pair, pair.public.text),
            state="active",
            created_at=now,
            activated_at=now,
        )
    )
    return pair.public.text
