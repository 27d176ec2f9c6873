"""All keys that the service has or had, as administrators see them; never a seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.models import Account, Credential, SigningKey
from authsvc.server.rotation.lines import MARGIN, Line

__all__ = ["Listed", "list_keys"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A key, and what follows from the others of its line.

    Args:
        key: Its row.
        account: The account's kind, None for the operator's keys.
        signs: Whether it is the one that signs now.
        superseded_at: When another key took over, seconds since the epoch.
        retire_after: From when on retiring it cuts nobody off; None where nothing superseded it.
        credentials: How many credentials' newest JWT it signed and is alive; None where it signs
            no people.
    """

    key: SigningKey
    account: str | None
    signs: bool
    superseded_at: int | None
    retire_after: int | None
    credentials: int | None


async def list_keys(session: AsyncSession, *, life: int, grace: int, now: int) -> list[Listed]:
    """Every key in the order in which they were made.

    Args:
        session: Any.
        life: The longest life of a credential, in seconds.
        grace: For how long after its end a JWT can be renewed, in seconds.
        now: Seconds since the epoch.
    """
    rows = list(await session.scalars(select(SigningKey).order_by(col(SigningKey.id))))
    kinds = {row.id: row.kind for row in await session.scalars(select(Account))}
    signed = await _signed(session, now)
    slots: defaultdict[str, list[SigningKey]] = defaultdict(list)
    for key in sorted(rows, key=lambda key: -key.generation):
        slots[key.slot].append(key)
    lines = {slot: Line(keys) for slot, keys in slots.items()}
    return [
        _listed(
            key, lines[key.slot], kinds.get(key.account_id or ""), signed, life=life, grace=grace
        )
        for key in rows
    ]


async def _signed(session: AsyncSession, now: int) -> dict[str, tuple[int, int]]:
    """How many live JWTs each key signed, and when the last of them ends."""
    rows = await session.execute(
        select(col(Credential.signer), func.count(), func.max(col(Credential.alive_until)))
        .where(col(Credential.expires_at) > now)
        .where(col(Credential.revoked_at).is_(None))
        .group_by(col(Credential.signer))
    )
    return {signer: (count, last) for signer, count, last in rows}


def _listed(
    key: SigningKey,
    line: Line,
    account: str | None,
    signed: Mapping[str, tuple[int, int]],
    *,
    life: int,
    grace: int,
) -> Listed:
    signing = key.purpose in {"signing", "role"}
    successor = line.successor(key) if signing else None
    since = successor.activated_at if successor else None
    count, last = signed.get(key.public_key, (0, 0))
    after = None
    if since is not None and key.state == "active" and key.owner == "account":
        # As in ``lines.needed``: a JWT may have been issued with a longer life.
        after = max(since + life, last) + grace + MARGIN
    return Listed(
        key=key,
        account=account,
        signs=signing and key is line.signer,
        superseded_at=since,
        retire_after=after,
        credentials=count if signing and account == "people" else None,
    )
