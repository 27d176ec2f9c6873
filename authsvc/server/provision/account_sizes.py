"""How large each account's JWT has become."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.models import Account, Revocation
from authsvc.server.provision.ceiling import warning_for

__all__ = ["AccountSize", "account_sizes"]


@dataclass(frozen=True, slots=True)
class AccountSize:
    """An account as it was published, and how near its JWT is to the ceiling.

    Args:
        id: The account's.
        kind: people, mail, system or adopted.
        name: For people.
        public_key: The account's.
        revision: Of its rows.
        published_revision: That its JWT was made from.
        issued_at: ``iat`` of that JWT.
        jwt_bytes: Of that JWT.
        revocations: In its rows.
    """

    id: str
    kind: str
    name: str
    public_key: str
    revision: int
    published_revision: int
    issued_at: int
    jwt_bytes: int
    revocations: int

    @property
    def warnings(self) -> list[str]:
        """What should be looked at, a sentence each."""
        found = warning_for(self.jwt_bytes)
        return [found] if found else []


async def account_sizes(session: AsyncSession) -> list[AccountSize]:
    """All accounts, by kind."""
    revocations = (
        select(func.count())
        .where(col(Revocation.account_id) == col(Account.id))
        .correlate(Account)
        .scalar_subquery()
    )
    rows = await session.execute(
        select(
            col(Account.id),
            col(Account.kind),
            col(Account.name),
            col(Account.public_key),
            col(Account.revision),
            col(Account.published_revision),
            col(Account.issued_at),
            func.length(col(Account.jwt)),
            revocations,
        ).order_by(col(Account.kind))
    )
    return [AccountSize(*row) for row in rows]
