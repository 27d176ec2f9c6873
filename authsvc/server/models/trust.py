"""Operator, accounts, and the keys that the service holds for them."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import Index, LargeBinary, String, UniqueConstraint
from sqlmodel import Field

from authsvc.server.models.base import Row, Seconds

__all__ = [
    "Account",
    "KeystoreCheck",
    "Operator",
    "Revocation",
    "Role",
    "Secret",
    "ServerState",
    "SigningKey",
    "key_slot",
]


class Operator(Row, table=True):
    """The root of trust: one row."""

    __tablename__ = "operators"

    id: str = Field(primary_key=True)
    name: str
    public_key: str = Field(unique=True)
    jwt: str
    created_at: int = Field(sa_type=Seconds)


class Account(Row, table=True):
    """A NATS account."""

    __tablename__ = "accounts"

    id: str = Field(primary_key=True)
    kind: Literal["people", "mail", "system", "door", "adopted"] = Field(sa_type=String)
    name: str
    public_key: str = Field(unique=True)
    jwt: str
    """The account JWT that nats-server should hold."""
    adopted_jwt: str = ""
    """What its owner last made of an account that was here before this service; empty where the
    service makes all of it."""
    revision: int = Field(default=0, sa_type=Seconds)
    """Rises with each change that must reach nats-server."""
    published_revision: int = Field(default=-1, sa_type=Seconds)
    """The revision that the JWT was made from."""
    issued_at: int = Field(sa_type=Seconds)
    """``iat`` of the JWT: strictly rising."""
    created_at: int = Field(sa_type=Seconds)


def key_slot(
    owner: Literal["operator", "account", "user"], purpose: str, account_id: str | None
) -> str:
    """The line of generations that a key belongs to, such as ``acc_...:account:signing``.

    A role's key has the purpose ``role:`` and the role's name here.
    """
    return f"{account_id or 'operator'}:{owner}:{purpose}"


class SigningKey(Row, table=True):
    """A private key that the service holds, sealed by the keystore."""

    __tablename__ = "signing_keys"
    __table_args__ = (Index("uq_signing_keys_slot_generation", "slot", "generation", unique=True),)

    id: str = Field(primary_key=True)
    public_key: str = Field(unique=True)
    owner: Literal["operator", "account", "user"] = Field(sa_type=String)
    account_id: str | None = Field(default=None, foreign_key="accounts.id", index=True)
    purpose: Literal["identity", "signing", "login", "role"] = Field(sa_type=String)
    slot: str
    """What the key is one of a line of: whose it is and what for, as ``key_slot`` says."""
    generation: int = 1
    """Its place in that line: a rotation makes one key of the next generation, whoever asks."""
    name: str
    sealed_seed: bytes = Field(sa_type=LargeBinary, repr=False)
    """Empty where the seed is not here: removed from the service, or of a retired key."""
    state: Literal["prepared", "active", "retired"] = Field(sa_type=String)
    automatic: bool = False
    """Becomes active as soon as every nats-server knows it, and then retires the one before it
    when nothing needs that any more."""
    created_at: int = Field(sa_type=Seconds)
    activated_at: int | None = Field(default=None, sa_type=Seconds)
    retired_at: int | None = Field(default=None, sa_type=Seconds)
    exported_at: int | None = Field(default=None, sa_type=Seconds)


class Role(Row, table=True):
    """A role that is scoped: a signing key of its own carries what its members may do."""

    __tablename__ = "roles"

    name: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE")
    public_key: str = Field(unique=True)
    """Of its signing key."""
    max_subscriptions: int
    """Of each member's connection; a user JWT by a scoped key can't say it."""
    max_payload: int
    """Bytes, likewise."""
    created_by: str
    created_at: int = Field(sa_type=Seconds)


class Revocation(Row, table=True):
    """An entry of an account JWT's revocations."""

    __tablename__ = "revocations"
    __table_args__ = (UniqueConstraint("account_id", "public_key"),)

    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE")
    public_key: str
    """A user's nkey, or ``*``."""
    revoked_at: int = Field(sa_type=Seconds)
    """JWTs with an ``iat`` up to and including this are dead."""
    expires_at: int = Field(sa_type=Seconds, index=True)
    """From then on there is no JWT left that it could hit."""
    created_at: int = Field(sa_type=Seconds)


class ServerState(Row, table=True):
    """Which JWT of an account a nats-server holds, as it said itself."""

    __tablename__ = "server_states"

    server_id: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True, foreign_key="accounts.id", ondelete="CASCADE")
    name: str
    issued_at: int = Field(sa_type=Seconds)
    """``iat`` of that JWT."""
    seen_at: int = Field(sa_type=Seconds)


class KeystoreCheck(Row, table=True):
    """One known text under the master key: tells at start whether the key is the right one."""

    __tablename__ = "keystore_checks"

    id: int = Field(default=1, primary_key=True)
    sealed: bytes = Field(sa_type=LargeBinary)


class Secret(Row, table=True):
    """A secret of the service's own that is no nkey, sealed by the keystore."""

    __tablename__ = "secrets"

    name: str = Field(primary_key=True)
    sealed: bytes = Field(sa_type=LargeBinary, repr=False)
    created_at: int = Field(sa_type=Seconds)
