"""Keys that leave the service and come back; identity keys are needed rarely.

Without the operator's identity key everything in daily use goes on: it signs the operator JWT
alone. Identity keys of accounts sign nothing at all.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import Conflict, NotFound
from authsvc.nkey import KeyPair
from authsvc.server import audit
from authsvc.server.keystore import Keystore, verify_master_key
from authsvc.server.models import Account, SigningKey, key_slot

__all__ = ["NAMES", "export_seed", "find_key", "import_seed", "remove_seed"]

_ACCOUNTS = ("people", "mail", "system")
NAMES = ("operator", "operator-identity", *(f"{kind}-identity" for kind in _ACCOUNTS))
"""What a key can be called by, beside its public key."""


async def find_key(session: AsyncSession, reference: str, *, lock: bool = False) -> SigningKey:
    """A key by one of ``NAMES`` or by its public key.

    Args:
        session: Any.
        reference: Which.
        lock: Whether the row will be changed.

    Raises:
        NotFound: There is none.
    """
    column, value = col(SigningKey.public_key), reference
    if reference in NAMES:
        kind = reference.partition("-")[0]
        column, value = col(SigningKey.slot), key_slot("operator", "identity", None)
        if kind in _ACCOUNTS:
            account = await session.scalar(select(col(Account.id)).where(col(Account.kind) == kind))
            value = key_slot("account", "identity", account)
    statement = select(SigningKey).where(column == value)
    key = None
    if value.isprintable():  # PostgreSQL takes no NUL
        key = await session.scalar(statement.with_for_update() if lock else statement)
    if key is None:
        raise NotFound(f"there is no such key; name it by its public key or as {', '.join(NAMES)}")
    return key


async def export_seed(
    session: AsyncSession,
    keystore: Keystore,
    reference: str,
    *,
    context: audit.Context,
    now: int,
    confirm: bool,
) -> KeyPair:
    """The private key, for a file outside of the service; once, unless confirmed.

    Args:
        session: Writing; the edge commits.
        keystore: Opens the seed.
        reference: Which key.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        confirm: Whether one that was exported before may be again.

    Raises:
        NotFound: There is no such key.
        Conflict: It was exported before, or is not here.
    """
    key = await find_key(session, reference, lock=True)
    if not key.sealed_seed:
        raise Conflict(f"the private key of {key.public_key} is not here")
    if key.exported_at is not None and not confirm:
        raise Conflict("this key was exported before; confirm that it shall be again (--yes)")
    pair = keystore.open(key.sealed_seed, key.public_key)
    key.exported_at = now
    await _note(session, context, "key.export", key, now)
    return pair


async def remove_seed(
    session: AsyncSession, reference: str, *, context: audit.Context, now: int, confirm: bool
) -> SigningKey:
    """Forget a private key; the service runs on without it.

    Args:
        session: Writing; the edge commits.
        reference: Which key.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        confirm: Whether one that was never exported may be lost for ever.

    Raises:
        NotFound: There is no such key.
        Conflict: It is in daily use, was never exported, or is not here.
    """
    key = await find_key(session, reference, lock=True)
    if key.purpose != "identity":
        raise Conflict("the service needs this key every day; only identity keys can be removed")
    if not key.sealed_seed:
        raise Conflict(f"the private key of {key.public_key} is not here already")
    if key.exported_at is None and not confirm:
        raise Conflict(
            "this key was never exported: export it first (authsvc key export), or confirm that "
            "it is lost for ever (--yes)"
        )
    key.sealed_seed = b""
    await _note(session, context, "key.remove", key, now)
    return key


async def import_seed(
    session: AsyncSession,
    keystore: Keystore,
    pair: KeyPair,
    *,
    context: audit.Context,
    now: int,
) -> SigningKey:
    """Take a private key back that was removed.

    Args:
        session: Writing; the edge commits.
        keystore: Seals the seed.
        pair: The private key.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        NotFound: It is the private key of none that belongs here.
        Conflict: It is here, or it is retired.
    """
    key = await session.scalar(
        select(SigningKey).where(col(SigningKey.public_key) == pair.public.text).with_for_update()
    )
    if key is None:
        raise NotFound(f"{pair.public.text} is no key of this service")
    if key.state == "retired":
        raise Conflict(f"{key.public_key} is retired")
    if key.sealed_seed:
        raise Conflict(f"the private key of {key.public_key} is here already")
    await verify_master_key(session, keystore, hold=True)
    key.sealed_seed = keystore.seal(pair, pair.public.text)
    await _note(session, context, "key.import", key, now)
    return key


async def _note(
    session: AsyncSession, context: audit.Context, action: str, key: SigningKey, now: int
) -> None:
    details = {"public_key": key.public_key, "owner": key.owner, "purpose": key.purpose}
    await session.flush()
    await audit.append(session, [audit.event(context, action, "key", key.id, details, now * 1000)])
