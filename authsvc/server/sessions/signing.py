"""Which signing keys the account has now, read in the transaction that uses them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import KeyUnavailable
from authsvc.server.issuer import Issuer
from authsvc.server.keystore import Keystore
from authsvc.server.models import Role, SigningKey

__all__ = ["KeyRow", "SigningDesk", "read_keys", "select_keys"]


class KeyRow(NamedTuple):
    """A signing key whose JWTs count, or counted."""

    public_key: str
    purpose: str
    state: str
    role: str | None
    """The scoped role that it signs for."""
    generation: int


@cache
def select_keys(account_id: str) -> Any:
    """A query for an account's rows, as ``KeyRow`` has them."""
    return (
        select(
            col(SigningKey.public_key),
            col(SigningKey.purpose),
            col(SigningKey.state),
            col(Role.name),
            col(SigningKey.generation),
        )
        .outerjoin(Role, col(Role.public_key) == col(SigningKey.public_key))
        .where(col(SigningKey.account_id) == account_id)
        .where(
            or_(
                (col(SigningKey.purpose) == "signing") & (col(SigningKey.state) == "active"),
                (col(SigningKey.purpose) == "role") & (col(SigningKey.state) != "prepared"),
            )
        )
    )


def read_keys(connection: Connection, account_id: str) -> list[KeyRow]:
    """The account's keys as of now."""
    return [KeyRow(*row) for row in connection.execute(select_keys(account_id))]


class _Rows:
    """An account's keys by what they are for, the newest first."""

    def __init__(self, found: Iterable[KeyRow]) -> None:
        rows = sorted(found, key=attrgetter("generation"), reverse=True)
        self.own = [row.public_key for row in rows if row.purpose == "signing"]
        if not self.own:
            raise KeyUnavailable("the account has no active signing key")
        self.of_roles = {
            row.role: row.public_key for row in rows if row.role and row.state == "active"
        }
        self.former = frozenset(row.public_key for row in rows if row.state == "retired")

    def signing(self) -> Iterable[str]:
        """Those that sign now."""
        return (self.own[0], *self.of_roles.values())


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
        """Who signs now, and which keys' JWTs still count.

        Args:
            issuer: The account's own; its JWTs say what they allow.
            trusted: All keys whose JWTs count.
            roles: Issuers of scoped roles, by role; their JWTs don't say what they allow.
            former: Keys of roles that are scoped no more: their JWTs are good for renewing alone.
        """

        issuer: Issuer
        trusted: frozenset[str]
        roles: Mapping[str, Issuer] = field(default_factory=lambda: MappingProxyType({}))
        former: frozenset[str] = frozenset()

        def role_of(self, public_key: str) -> str | None:
            """The scoped role that the key signs for; None for the account's own keys."""
            for role, issuer in self.roles.items():
                if issuer.key.public.text == public_key:
                    return role
            return None

    def __init__(self, keystore: Keystore, account_id: str, account: str) -> None:
        self.account_id = account_id
        self._keystore = keystore
        self._account = account
        self._opened: dict[str, Issuer] = {}

    def current(self, connection: Connection) -> Keys:
        """The keys as of this transaction.

        Raises:
            KeyUnavailable: There is none, or its seed can't be opened.
        """
        return self.keys(connection, read_keys(connection, self.account_id))

    def keys(self, connection: Connection, found: Iterable[KeyRow]) -> Keys:
        """The same, of rows that were read already.

        Raises:
            KeyUnavailable: There is none, or its seed can't be opened.
        """
        rows = _Rows(found)
        # One that signs no more need not stay in memory.
        self._opened = {
            key: self._opened.get(key) or self._open(connection, key) for key in rows.signing()
        }
        return self._keys(rows)

    def opened_keys(self, found: Iterable[KeyRow]) -> Keys | None:
        """The same where all of them are open; else None.

        Raises:
            KeyUnavailable: There is none.
        """
        rows = _Rows(found)
        return self._keys(rows) if self._opened.keys() == set(rows.signing()) else None

    def _keys(self, rows: _Rows) -> Keys:
        return self.Keys(
            self._opened[rows.own[0]],
            frozenset((*rows.own, *rows.of_roles.values())),
            {name: self._opened[key] for name, key in rows.of_roles.items()},
            rows.former,
        )

    def _open(self, connection: Connection, public_key: str) -> Issuer:
        sealed = connection.scalar(
            select(col(SigningKey.sealed_seed)).where(col(SigningKey.public_key) == public_key)
        )
        if not sealed:
            raise KeyUnavailable("the account's signing key has no seed here")
        return Issuer(self._account, self._keystore.open(sealed, public_key))

    async def read(self, session: AsyncSession) -> Keys:
        """The same, for a session.

        Raises:
            KeyUnavailable: There is none, or its seed can't be opened.
        """
        connection = await session.connection()
        return await connection.run_sync(self.current)
