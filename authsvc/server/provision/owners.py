"""Accounts whose JWTs their owner makes, and servers that may disbelieve ours.

The owner of an adopted account pushes by other ways, so what servers hold is looked at before
anything is pushed over it. And the adopted operator's JWT may be newer than the one in a server's
configuration: nats-server stores account JWTs of any operator and answers 200, yet lets nobody in
by one whose signer its own operator JWT does not name. What a server was started with never changes
while it runs, so each is asked once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import structlog

from authsvc.claims import decode_account, decode_operator
from authsvc.errors import InvalidClaims
from authsvc.server.database import Database
from authsvc.server.provision.adopted import account_signers, adopted_ids, follow
from authsvc.server.provision.answers import Server

__all__ = ["Owners"]

log = structlog.get_logger("authsvc.publish")


class Operators(Protocol):
    """What of ``resolver.Resolver`` is used here."""

    @property
    def connected(self) -> bool:
        """Whether a server can be asked now."""

    def known(self) -> list[Server]:
        """The live servers."""

    def awake(self) -> set[str]:
        """The ids of those that owe no answer."""

    async def lookups(self, account: str) -> list[str]:
        """What each of them holds."""

    async def operators(self) -> dict[Server, str]:
        """The operator JWT that each of them was started with."""


class Owners:
    """What concerns adopted accounts; does nothing where none was adopted.

    Args:
        database: Where the accounts are.
        resolver: The way to the servers; None where there is none.
    """

    def __init__(self, database: Database, resolver: Operators | None) -> None:
        self._database = database
        self._resolver = resolver
        self._adopted: frozenset[str] | None = None
        self._signers: dict[str, set[str]] = {}
        self._issuer = ("", "")
        self.disbelieved: dict[str, list[str]] = {}
        """By account id, the servers that do not trust who signed it."""

    async def adopted(self) -> frozenset[str]:
        """The ids of the accounts; they never become more after the first start."""
        if self._adopted is None:
            async with self._database.reading() as session:
                self._adopted = await adopted_ids(session)
        return self._adopted

    async def follow(self, account_id: str, found: list[str]) -> bool:
        """Take over what the owner of an adopted account pushed; see ``adopted``.

        Args:
            account_id: Any account.
            found: What servers hold of it.

        Returns:
            Whether there was something.
        """
        if account_id not in await self.adopted():
            return False
        async with self._database.writing() as session:
            followed = await follow(session, account_id, found)
        if followed:
            log.info("an adopted account was changed by its owner", account=account_id)
        return followed

    async def look_first(
        self, account_id: str, public_key: str, issued_at: int, held: Mapping[str, int]
    ) -> bool:
        """Follow what servers hold where something may be pushed over it.

        Args:
            account_id: An adopted account.
            public_key: The account's.
            issued_at: ``iat`` of the JWT that servers should hold; -1 to look in any case.
            held: The ``iat`` that each server confirmed, by its id.
        """
        if self._resolver is None or not self._resolver.connected:
            return False
        awake = self._resolver.awake()
        if awake and all(held.get(server) == issued_at for server in awake):
            return False
        return await self.follow(account_id, await self._resolver.lookups(public_key))

    async def believers(self, account_id: str, jwt: str) -> set[str] | None:
        """The ids of the servers that believe the account's JWT; None for all of them."""
        if self._resolver is None or not jwt or not await self.adopted():
            return None
        if self._issuer[0] != jwt:
            self._issuer = (jwt, decode_account(jwt).issuer)
        if not self._resolver.awake() <= self._signers.keys():
            told = await self._resolver.operators()
            self._signers = {
                server.id: signers
                for server, text in told.items()
                if (signers := _signers(text)) is not None
            }
        found = {key for key, signers in self._signers.items() if self._issuer[1] in signers}
        names = [server.name for server in self._resolver.known() if server.id not in found]
        if names and names != self.disbelieved.get(account_id):
            log.warning("not trusted by servers", account=account_id, servers=names)
        self.disbelieved[account_id] = names
        return found


def _signers(operator_jwt: str) -> set[str] | None:
    """Who may sign accounts for a server; None if it did not say."""
    try:
        return account_signers(decode_operator(operator_jwt)) if operator_jwt else None
    except InvalidClaims:
        return set()
