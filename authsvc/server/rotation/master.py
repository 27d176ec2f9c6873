"""Changing the master key while the service runs: everything sealed is sealed anew, at once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import Conflict
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.keystore import (
    Keystore,
    forget_former,
    replace_master_key,
    verify_master_key,
)
from authsvc.server.keystore.check import CHECK_CONTEXT
from authsvc.server.models import KeystoreCheck, Secret, SigningKey
from authsvc.server.settings import Settings

__all__ = ["Changed", "change_master_key", "reseal_everything"]


@dataclass(frozen=True, slots=True)
class Changed:
    """A master key that was changed; ids are in hex and tell nothing about the keys.

    Args:
        former: Id of the former one.
        current: Id of the new one.
        sealed: How many texts were sealed anew.
    """

    former: str
    current: str
    sealed: int


async def change_master_key(
    settings: Settings,
    database: Database,
    keystore: Keystore,
    *,
    context: audit.Context,
    now: int,
) -> Changed:
    """Change the master key; replicas that run go on.

    A master key in the data directory is replaced. One from the settings is changed to by
    ``MASTER_KEY``, the former one being ``MASTER_KEY_PREVIOUS`` on every replica. Where it stops
    halfway the service can still be started, and doing it again brings it to its end.

    Args:
        settings: Say where the master key is.
        database: What is sealed is here.
        keystore: Opened with the same settings.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        Conflict: The settings give no new master key.
        KeyUnavailable: Something can't be opened; nothing was changed.
        StartRefused: A file can't be written.
    """
    in_file = settings.master_key is None
    async with database.writing() as session:
        # Alone from here on: whoever seals holds this row as well.
        await session.get(KeystoreCheck, 1, with_for_update=True)
        await verify_master_key(session, keystore)
        former = keystore.current_id
        if in_file:
            if keystore.current_id == keystore.newest_id:
                forget_former(settings)  # of an earlier change, that lacked only this
            replace_master_key(settings)
            keystore.refresh()
        if keystore.newest_id == former:
            raise Conflict(
                "AUTHSVC_MASTER_KEY is the master key in use: on every replica set it to a new "
                "one and AUTHSVC_MASTER_KEY_PREVIOUS to this one, restart them one after "
                "another, then do this again"
            )
        count = await reseal_everything(session, keystore)
        changed = Changed(former, keystore.newest_id, count)
        details = {"former": changed.former, "sealed": count}
        event = audit.event(
            context, "master_key.rotate", "master_key", changed.current, details, now * 1000
        )
        await audit.append(session, [event])
    keystore.adopt_newest()
    if in_file:
        forget_former(settings)
    return changed


async def reseal_everything(session: AsyncSession, keystore: Keystore) -> int:
    """Seal everything by the newest master key; returns how many texts that were.

    Raises:
        KeyUnavailable: Something can't be opened.
    """
    count = 0
    statement = select(SigningKey).order_by(col(SigningKey.id)).with_for_update()
    for key in await session.scalars(statement):
        if key.sealed_seed and not keystore.by_newest(key.sealed_seed):
            key.sealed_seed = keystore.reseal(key.sealed_seed, key.public_key)
            count += 1
    for secret in await session.scalars(
        select(Secret).order_by(col(Secret.name)).with_for_update()
    ):
        if not keystore.by_newest(secret.sealed):
            secret.sealed = keystore.reseal(secret.sealed, secret.name)
            count += 1
    check = await session.get_one(KeystoreCheck, 1)
    check.sealed = keystore.reseal(check.sealed, CHECK_CONTEXT)
    await session.flush()
    return count
