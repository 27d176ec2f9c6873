"""The open database with the keys in it: what there is before nats-server runs.

async with open_store(settings) as store:
    await store.account_jwts()
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import encode
from authsvc.errors import KeyUnavailable
from authsvc.nkey import KeyPair
from authsvc.server.audit.anchor import begin as begin_audit
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, is_new, open_keystore, verify_master_key
from authsvc.server.models import Account, SigningKey
from authsvc.server.provision import accounts
from authsvc.server.provision.account_jwts import make_account_jwt
from authsvc.server.provision.accounts import SYSTEM_USER
from authsvc.server.provision.adopt import adopt
from authsvc.server.provision.adoption import Adoption
from authsvc.server.provision.bootstrap import Material, bootstrap
from authsvc.server.provision.door import Door, open_door
from authsvc.server.settings import Settings

__all__ = ["Store", "open_store", "system_user"]

_SYSTEM_USER_LIFE = 10 * 365 * 86400


class Store:
    """The open database with the keys in it: what exists before nats-server runs."""

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        material: Material,
        door: Door | None = None,
        *,
        first: bool = False,
    ) -> None:
        self.database = database
        self.keystore = keystore
        self.material = material
        self.door = door
        self.first = first
        """Whether everything was made just now."""

    async def account_jwts(self) -> dict[str, str]:
        """The newest JWT of every account by its public key, made where it is missing."""
        now = int(time.time())
        async with self.database.writing() as session:
            rows = list(
                await session.scalars(select(Account).order_by(col(Account.id)).with_for_update())
            )
            for account in rows:
                if account.published_revision != account.revision:
                    await make_account_jwt(session, self.keystore, account, now)
            return {account.public_key: account.jwt for account in rows}


@asynccontextmanager
async def open_store(settings: Settings, adoption: Adoption | None = None) -> AsyncIterator[Store]:
    """Open the database, migrated, and the keystore; make the operator at the first start.

    Args:
        settings: Where they are.
        adoption: An operator to take over in place of making one.

    Raises:
        Conflict: One shall be taken over, and there is one.
        StartRefused: The settings, the schema or the master key don't allow it.
        StoreUnavailable: The database can't be reached.
    """
    database = Database(settings.database_url)
    try:
        await database.start(migrate=True)
        async with database.reading() as session:
            first = await is_new(session)
        keystore = open_keystore(settings, make=first)
        now = int(time.time())
        async with database.writing() as session:
            await verify_master_key(session, keystore, hold=True)
            await begin_audit(session, keystore, now)
            if adoption is not None:
                await adopt(
                    session, keystore, adoption, account_name=settings.account_name, now=now
                )
            material = await bootstrap(
                session,
                keystore,
                account_name=settings.account_name,
                now=now,
                callout=settings.callout,
            )
            door = await open_door(session, keystore, now) if settings.callout else None
        store = Store(database, keystore, material, door, first=first)
        await store.account_jwts()
        yield store
    finally:
        await database.stop()


async def system_user(session: AsyncSession, store: Store) -> tuple[str, KeyPair]:
    """The service's own user in the system account: its JWT and key, made anew at each start.

    Raises:
        KeyUnavailable: A key is missing.
    """
    keys: dict[str, KeyPair] = {}
    rows = await session.scalars(
        select(SigningKey)
        .where(col(SigningKey.account_id) == store.material.system_id)
        .where(col(SigningKey.state) == "active")
        .order_by(col(SigningKey.generation))
    )
    for row in rows:
        if row.purpose == "signing" or row.name == SYSTEM_USER:
            keys[row.purpose] = store.keystore.open(row.sealed_seed, row.public_key)
    if not {"signing", "login"} <= keys.keys():
        raise KeyUnavailable("the system account's signing key or user is missing")
    now = int(time.time())
    claims = accounts.system_user(
        subject=keys["login"].public.text,
        name=SYSTEM_USER,
        account=store.material.system,
        people=store.material.people,
        issued_at=now,
        expires=now + _SYSTEM_USER_LIFE,
    )
    return encode(claims, keys["signing"]), keys["login"]
