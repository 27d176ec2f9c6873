"""Where newer account JWTs than a backup's are found: at nats-servers, and in their folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import Unavailable
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import Account
from authsvc.server.provision.bootstrap import load_material
from authsvc.server.provision.merging import Merged, merge_account, newer, trusted_signers
from authsvc.server.provision.resolver import Resolver
from authsvc.server.store import Store, system_user
from authsvc.server.tls import Trust

__all__ = ["Found", "ask_servers", "merge", "read_folder"]

_CONNECT_SECONDS = 5.0
_LONGEST_JWT = 4 * 1024 * 1024


@dataclass(slots=True)
class Found:
    """Account JWTs, and the operator JWTs of who holds them.

    Args:
        accounts: JWTs by the account's public key.
        operators: JWTs.
        servers: Names of the servers that answered.
    """

    accounts: dict[str, list[str]] = field(default_factory=dict)
    operators: list[str] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)

    def add(self, account: str, jwts: Iterable[str]) -> None:
        """Add what was found of an account."""
        self.accounts.setdefault(account, []).extend(filter(None, jwts))


async def ask_servers(
    session: AsyncSession,
    database: Database,
    keystore: Keystore,
    urls: Sequence[str],
    found: Found,
    *,
    trust: Trust | None = None,
) -> None:
    """Ask every nats-server what it holds, as the service's own user in the system account.

    Args:
        session: Of the restored database.
        database: The same.
        keystore: With the master keys.
        urls: Of some servers of the cluster.
        found: Gets the answers.
        trust: Makes the context for TLS; the system's authorities if None.

    Raises:
        KeyUnavailable: The backup has no key to ask with.
        Unavailable: None can be reached, or none answers.
    """
    material = await load_material(session)
    if material is None:
        return
    jwt, key = await system_user(session, Store(database, keystore, material))
    resolver = Resolver(urls, jwt, key, tls=trust)
    try:
        if not await resolver.connect(_CONNECT_SECONDS):
            raise Unavailable(
                f"no nats-server at {', '.join(urls)} can be asked what was revoked since the "
                f"backup ({resolver.error or 'no answer'})"
            )
        servers = await resolver.servers()
        if not servers:
            raise Unavailable(f"the nats-servers at {', '.join(urls)} don't answer")
        found.servers += [server.name for server in servers]
        found.operators += filter(None, (await resolver.operators()).values())
        for account in await session.scalars(select(col(Account.public_key))):
            found.add(account, await resolver.lookups(account))
    finally:
        await resolver.close()


def read_folder(folder: Path, accounts: Iterable[str], found: Found) -> None:
    """Read what the nats-server of ``authsvc up`` last held.

    Args:
        folder: Of its account JWTs; it may be missing.
        accounts: Public keys.
        found: Gets them.
    """
    for account in accounts:
        path = folder / f"{account}.jwt"
        if path.is_file() and path.stat().st_size <= _LONGEST_JWT:
            found.add(account, [path.read_text(encoding="ascii", errors="replace").strip()])


async def merge(session: AsyncSession, keystore: Keystore, found: Found, now: int) -> list[Merged]:
    """Take over what is newer than the restored database.

    Args:
        session: Writing; the edge commits.
        keystore: With the master keys.
        found: Where from.
        now: Seconds since the epoch.

    Raises:
        KeyUnavailable: A signing key is needed and can't be made.
    """
    if not found.accounts:
        return []
    signers = await trusted_signers(session, found.operators)
    merged = []
    accounts = await session.scalars(select(Account).order_by(col(Account.id)).with_for_update())
    for account in list(accounts):
        # An adopted account is its owner's: what servers hold is followed at the start.
        if account.adopted_jwt or account.kind == "adopted":
            continue
        ahead = newer(account, found.accounts.get(account.public_key, ()), signers)
        if ahead:
            merged.append(await merge_account(session, keystore, account, ahead, now))
    return merged
