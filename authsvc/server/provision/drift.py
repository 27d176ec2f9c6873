"""Servers that no longer hold what they confirmed, found by asking and mended; strangers reported.

A look asks every server for every account's JWT. One that was changed, removed, set back or made
newer by somebody else is outdone by a new one of ours; an adopted account's newer one is followed
if its operator signed it, and outdone by the same one as before if not. JWTs of accounts that
nobody knows here are reported and left alone: another operator may need them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import structlog
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import decode_account
from authsvc.errors import InvalidClaims
from authsvc.server import metrics
from authsvc.server.database import Database
from authsvc.server.models import Account
from authsvc.server.provision.account_sizes import account_sizes
from authsvc.server.provision.answers import Server
from authsvc.server.provision.publish import Publisher, ResolverLike, Stand
from authsvc.server.provision.resolver import issued_at

__all__ = ["Drift", "Foreign"]

Kind = Literal["removed", "older", "newer", "changed"]
_MOST_STRANGERS = 100
"""Each is asked about; of more than these only the keys are told."""
log = structlog.get_logger("authsvc.drift")


@dataclass(frozen=True, slots=True)
class Foreign:
    """An account JWT on nats-servers that is none of ours.

    Args:
        account: The account's public key.
        name: As its JWT has it; empty where it can't be read.
        issuer: Who signed it; empty where it can't be read.
        issued_at: Seconds since the epoch; -1 where it can't be read.
        servers: The names of the servers that hold it.
    """

    account: str
    name: str
    issuer: str
    issued_at: int
    servers: tuple[str, ...]


class Drift:
    """Looks at what servers hold.

    Args:
        database: Where our accounts are.
        publisher: Pushes again.
        resolver: The way to the servers.
    """

    def __init__(self, database: Database, publisher: Publisher, resolver: ResolverLike) -> None:
        self._database = database
        self._publisher = publisher
        self._resolver = resolver
        self.foreign: tuple[Foreign, ...] = ()
        """What the last look found that is not ours."""
        self.looked_at: float | None = None
        """When the last look ended, in seconds since the epoch."""
        self.mended = 0
        """How many account JWTs were pushed again since the start."""

    async def look(self) -> bool:
        """Look at every account on every server.

        Returns:
            Whether something was mended.
        """
        if not self._resolver.connected:
            return False
        await self._resolver.servers()
        async with self._database.reading() as session:
            rows = await session.execute(select(col(Account.id), col(Account.public_key)))
            ours = {row.public_key: row.id for row in rows}
            for size in await account_sizes(session):
                metrics.JWT_BYTES.labels(size.name).set(size.jwt_bytes)
                metrics.REVOCATIONS.labels(size.name).set(size.revocations)
        mended = [account for account, id_ in ours.items() if await self._account(account, id_)]
        self.mended += len(mended)
        await self._strangers(set(ours))
        self.looked_at = time.time()
        return bool(mended)

    async def _account(self, account: str, account_id: str) -> bool:
        stand = await self._publisher.stand(account_id)
        if not self._lost(stand, await self._resolver.lookups(account)):
            return False
        # It may only be that a push is under way: alone with the account, none is.
        async with self._publisher.alone(account_id):
            stand = await self._publisher.stand(account_id)
            found = await self._resolver.lookups(account)
            lost = self._lost(stand, found)
            if not lost:
                return False
            if await self._publisher.owners.follow(account_id, found):
                await self._publisher.publish_alone(account_id, force=True)
                return False
            for kind in lost:
                metrics.DRIFT.labels(kind).inc()
            issuers = sorted({_issuer(jwt) for jwt in found if jwt and jwt != stand.jwt})
            log.warning(
                "a server lost an account JWT", account=account, kinds=lost, issuers=issuers
            )
            self._publisher.outdo(account_id, found, stand)
            await self._publisher.publish_alone(account_id, force=True)
        return True

    def _lost(self, stand: Stand, found: list[str]) -> list[Kind]:
        """What became of the JWT on servers that had confirmed it; empty if it is there."""
        awake = self._resolver.awake()
        confirmed = sum(stand.held.get(server) == stand.issued_at for server in awake)
        # One that does not answer in time is no drift.
        expected = min(confirmed, len(found))
        if not stand.jwt or found.count(stand.jwt) >= expected:
            return []
        return [_kind(jwt, stand) for jwt in found if jwt != stand.jwt]

    async def _strangers(self, ours: set[str]) -> None:
        listed = await self._resolver.listed()
        holders: dict[str, list[Server]] = {}
        for server, accounts in listed.items():
            for account in accounts - ours:
                holders.setdefault(account, []).append(server)
        known = {item.account for item in self.foreign}
        found = [
            await self._stranger(account, servers, ask=place < _MOST_STRANGERS)
            for place, (account, servers) in enumerate(sorted(holders.items()))
        ]
        for item in found:
            if item.account not in known:
                log.warning("a foreign account JWT", account=item.account, issuer=item.issuer)
        self.foreign = tuple(found)
        metrics.FOREIGN.set(len(found))

    async def _stranger(self, account: str, servers: list[Server], *, ask: bool) -> Foreign:
        names = tuple(sorted(server.name for server in servers))
        for jwt in await self._resolver.lookups(account) if ask else ():
            try:
                claims = decode_account(jwt)
            except InvalidClaims:
                continue
            return Foreign(account, claims.name, claims.issuer, claims.issued_at, names)
        return Foreign(account, "", "", -1, names)


def _kind(jwt: str, stand: Stand) -> Kind:
    if not jwt:
        return "removed"
    found = issued_at(jwt)
    if found < 0 or found == stand.issued_at:
        return "changed"
    return "older" if found < stand.issued_at else "newer"


def _issuer(jwt: str) -> str:
    try:
        return decode_account(jwt).issuer
    except InvalidClaims:
        return "unreadable"
