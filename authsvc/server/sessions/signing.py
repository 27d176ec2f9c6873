"""Which signing keys the account has now, read in the transaction that uses them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import KeyUnavailable
from authsvc.server.issuer import Issuer
from authsvc.server.keystore import Keystore
from authsvc.server.models import SigningKey

__all__ = ["SigningDesk"]


class SigningDesk:
    """Opens the account's signing keys, each once.

    The rows are asked again in every transaction, so a key that was activated or retired by
    another replica counts from the next transaction on.

    Args:
        keystore: Opens sealed seeds.
        account_id: The people's account's id.
        account: Its public key.
    """

    @dataclass(frozen=True, slots=True)
    class Keys:
        """The issuer that signs now, and all keys whose JWTs still count."""

        issuer: Issuer
        trusted: frozenset[str]

    def __init__(self, keystore: Keystore, account_id: str, account: str) -> None:
        self._keystore = keystore
        self._account = account
        self._opened: dict[str, Issuer] = {}
        self._select = (
            select(col(SigningKey.public_key))
            .where(col(SigningKey.account_id) == account_id)
            .where(col(SigningKey.purpose) == "signing")
            .where(col(SigningKey.state) == "active")
            .order_by(col(SigningKey.generation).desc())
        )

    def current(self, connection: Connection) -> Keys:
        """The keys as of this transaction.

        Raises:
            KeyUnavailable: There is none, or its seed can't be opened.
        """
        found = list(connection.scalars(self._select))
        if not found:
            raise KeyUnavailable("the account has no active signing key")
        newest = found[0]
        issuer = self._opened.get(newest)
        if issuer is None:
            sealed = connection.scalar(
                select(col(SigningKey.sealed_seed)).where(col(SigningKey.public_key) == newest)
            )
            if sealed is None:
                raise KeyUnavailable("the account's signing key has no seed here")
            issuer = Issuer(self._account, self._keystore.open(sealed, newest))
            self._opened = {newest: issuer}  # one that signs no more need not stay in memory
        return self.Keys(issuer, frozenset(found))

    async def read(self, session: AsyncSession) -> Keys:
        """The same, for a session.

        Raises:
            KeyUnavailable: There is none, or its seed can't be opened.
        """
        connection = await session.connection()
        return await connection.run_sync(self.current)
