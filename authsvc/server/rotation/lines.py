"""Signing keys in their lines: one line for each owner, one key in it for each generation.

A key is prepared (listed in the account JWT, signs nothing), active, and at last retired. The
newest active key signs. One that was superseded by a newer one stays trusted for an overlap, so
that nobody who holds a JWT by it is cut off: until the last JWT that it may have signed can't be
renewed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import NotFound
from authsvc.server.models import Account, Credential, SigningKey, User, key_slot

__all__ = ["Line", "Needed", "find_account", "needed", "read_line"]

_KINDS = ("people", "mail", "system")
_NAMED_USERS = 100
MARGIN = 10
"""Seconds: replicas' clocks differ, and a transaction that began before an activation may sign
by the former key."""


@dataclass(frozen=True, slots=True)
class Line:
    """All keys of one account, the newest first."""

    keys: Sequence[SigningKey]

    @property
    def signer(self) -> SigningKey | None:
        """The key that signs now."""
        return next((key for key in self.keys if key.state == "active"), None)

    @property
    def prepared(self) -> SigningKey | None:
        """The key that will be next, if there is one yet."""
        return self.keys[0] if self.keys and self.keys[0].state == "prepared" else None

    @property
    def next_generation(self) -> int:
        """Of a key that is made now."""
        return self.keys[0].generation + 1 if self.keys else 1

    @property
    def superseded(self) -> list[SigningKey]:
        """Keys that are trusted and sign no more, the oldest first."""
        signer = self.signer
        return [key for key in reversed(self.keys) if key.state == "active" and key is not signer]

    def successor(self, key: SigningKey) -> SigningKey | None:
        """The key that took over from this one."""
        later = [it for it in self.keys if it.generation > key.generation and it.activated_at]
        return later[-1] if later else None


@dataclass(frozen=True, slots=True)
class Needed:
    """Who needs a key that signs no more.

    Args:
        credentials: How many credentials' newest JWT it signed and is alive.
        users: Their usernames, the first of them in order.
        until: Seconds since the epoch; from then on nobody does.
    """

    credentials: int
    users: tuple[str, ...]
    until: int


async def find_account(session: AsyncSession, reference: str, *, lock: bool = False) -> Account:
    """An account by its kind (people, mail, system), id or public key.

    Args:
        session: Any.
        reference: Which.
        lock: Whether its keys will be changed: one writer at a time, among all replicas.

    Raises:
        NotFound: There is no such account.
    """
    column = col(Account.id) if reference.startswith("acc_") else col(Account.public_key)
    if reference in _KINDS:
        column = col(Account.kind)
    # Of another kind of account nobody follows a rotation.
    statement = (
        select(Account)
        .where(column == reference)
        .where(col(Account.kind).in_(_KINDS))
        .order_by(col(Account.id))
        .limit(1)
    )
    found = None
    if reference.isprintable():  # PostgreSQL takes no NUL
        found = await session.scalar(statement.with_for_update() if lock else statement)
    if found is None:
        raise NotFound("there is no such account; people, mail and system are there")
    return found


async def read_line(session: AsyncSession, account_id: str | None) -> Line:
    """The account's signing keys as of this transaction; the operator's for None."""
    slot = key_slot("account" if account_id else "operator", "signing", account_id)
    rows = await session.scalars(
        select(SigningKey)
        .where(col(SigningKey.slot) == slot)
        .order_by(col(SigningKey.generation).desc())
        .execution_options(populate_existing=True)
    )
    return Line(list(rows))


async def needed(
    session: AsyncSession, line: Line, key: SigningKey, *, life: int, grace: int, now: int
) -> Needed:
    """Who needs a superseded key, and until when.

    Args:
        session: Any.
        line: The key's line.
        key: A superseded one.
        life: The longest life of a credential, in seconds.
        grace: For how long after its end a JWT can be renewed, in seconds.
        now: Seconds since the epoch.
    """
    successor = line.successor(key)
    since = successor.activated_at if successor and successor.activated_at else now
    alive = (
        (col(Credential.signer) == key.public_key)
        & (col(Credential.expires_at) > now)
        & col(Credential.revoked_at).is_(None)
    )
    count, last = (
        await session.execute(
            select(func.count(), func.max(col(Credential.alive_until))).where(alive)
        )
    ).one()
    names = await session.scalars(
        select(col(User.username))
        .where(col(User.id).in_(select(col(Credential.user_id)).where(alive)))
        .order_by(col(User.username))
        .limit(_NAMED_USERS)
    )
    # JWTs may have been issued with a longer life than the setting gives today.
    until = max(since + life, last or 0) + grace + MARGIN
    return Needed(count, tuple(names), until)
