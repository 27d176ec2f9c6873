"""Connections of the service's own users in MAIL and among people, and their JWTs.

    login = ServiceLogin(database, keystore, material.mail_id, postmaster, urls)
    await login.open()
    await login.tend(now)            # follows the account's signing key
    login.connection.client

The key of a user that no row has lives in this process's memory only, and every JWT for a day.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.client import Client
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import UserClaims, encode
from authsvc.errors import KeyUnavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account, SigningKey
from authsvc.server.provision.connection import Connection

__all__ = ["ServiceLogin", "stored_key"]

_LIFE_SECONDS = 86400

Claims = Callable[[str, str, int, int], UserClaims]
"""From nkey, account, ``iat`` and ``exp`` to the claims."""


async def stored_key(
    session: AsyncSession, keystore: Keystore, account_id: str, name: str
) -> KeyPair:
    """The key of a service's user that was made at the first start.

    Raises:
        KeyUnavailable: It is not there, or can't be opened.
    """
    row = await session.scalar(
        select(SigningKey)
        .where(col(SigningKey.account_id) == account_id)
        .where(col(SigningKey.purpose) == "login")
        .where(col(SigningKey.name) == name)
        .where(col(SigningKey.state) == "active")
        .order_by(col(SigningKey.generation).desc())
        .limit(1)
    )
    if row is None:
        raise KeyUnavailable(f"the key of {name} is missing")
    return keystore.open(row.sealed_seed, row.public_key)


async def _nothing(_client: Client) -> None:
    """Subscribe to nothing."""


class ServiceLogin:
    """One user of the service, connected.

    Args:
        database: Has the account's signing keys.
        keystore: Opens them.
        account_id: The row of the user's account.
        claims: Makes the claims.
        urls: Of the nats-servers; without any there is never a connection.
        key: The user's nkey; a new one that is kept nowhere if None.
        tls: Makes the context for each connection by TLS; the system's authorities if None.
    """

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        account_id: str,
        claims: Claims,
        *,
        urls: Sequence[str],
        key: KeyPair | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._tls = tls
        self._database = database
        self._keystore = keystore
        self._account_id = account_id
        self._claims = claims
        self._urls = list(urls)
        self._key = key or KeyPair.generate(Prefix.USER)
        self._signer = ""
        self._renew_at = 0.0
        self._connection: Connection | None = None

    @property
    def client(self) -> Client | None:
        """The connection there is now."""
        return self._connection.client if self._connection else None

    @property
    def away(self) -> float:
        """Seconds without a connection; 0 while there is one, and for ever without servers."""
        return self._connection.away if self._connection else float("inf")

    async def open(
        self, on_open: Callable[[Client], Awaitable[None]] = _nothing, *, wait: float = 0.0
    ) -> None:
        """Begin to connect; it goes on in the background.

        Args:
            on_open: Called with each new connection.
            wait: Seconds to wait for the first one.

        Raises:
            KeyUnavailable: The account has no signing key that can be used.
            StoreUnavailable: The database can't be read.
        """
        if not self._urls:
            return
        jwt, name = await self._sign(time.time())
        self._connection = Connection(
            self._urls, jwt, self._key, name=name, on_open=on_open, tls=self._tls
        )
        await self._connection.open(wait)

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            await self._connection.close()

    async def tend(self, now: float) -> None:
        """Go on with a new JWT where the account has another signing key, or the time has come.

        Args:
            now: Seconds since the epoch.

        Raises:
            KeyUnavailable: The account has no signing key that can be used.
            StoreUnavailable: The database can't be read.
        """
        if self._connection is None:
            return
        if now < self._renew_at:
            async with self._database.reading() as session:
                if (await self._newest(session)).public_key == self._signer:
                    return
        jwt, _ = await self._sign(now)
        await self._connection.renew(jwt)

    async def _sign(self, now: float) -> tuple[str, str]:
        async with self._database.reading() as session:
            row = await self._newest(session)
            account = await session.get_one(Account, self._account_id)
        signer = self._keystore.open(row.sealed_seed, row.public_key)
        expires = int(now) + _LIFE_SECONDS
        claims = self._claims(self._key.public.text, account.public_key, int(now), expires)
        self._signer, self._renew_at = row.public_key, now + _LIFE_SECONDS / 2
        return encode(claims, signer), claims.name

    async def _newest(self, session: AsyncSession) -> SigningKey:
        row = await session.scalar(
            select(SigningKey)
            .where(col(SigningKey.account_id) == self._account_id)
            .where(col(SigningKey.owner) == "account")
            .where(col(SigningKey.purpose) == "signing")
            .where(col(SigningKey.state) == "active")
            .order_by(col(SigningKey.generation).desc())
            .limit(1)
        )
        if row is None:
            raise KeyUnavailable("the account has no active signing key here")
        return row
