"""The rows. They are the entities too; there is no second set of objects.

Ids are text: a prefix for the kind and 26 characters that sort by time. Times are whole seconds
since the epoch, only an audit event's ``at`` is in milliseconds. Names with a fixed set of
values are ``Literal`` here and text in the database.
"""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar, Literal

from sqlalchemy import JSON, BigInteger, Integer, LargeBinary, MetaData, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

__all__ = [
    "Account",
    "ApiKey",
    "App",
    "AuditEvent",
    "Credential",
    "Grant",
    "KeystoreCheck",
    "Operator",
    "ProofUse",
    "Revocation",
    "Row",
    "ServerState",
    "SigningKey",
    "User",
    "new_id",
]

# Sorts like the number it spells, unlike RFC 4648's first alphabet (its section 7).
_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_PLACES = tuple(range(120, -1, -10))

_Seconds: Any = BigInteger
_Json: Any = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
# SQLite numbers rows by itself only where the type is spelt INTEGER.
_Sequence: Any = BigInteger().with_variant(Integer, "sqlite")


def new_id(prefix: str) -> str:
    """A new id: the prefix, ``_``, and 130 bits in 26 characters, the first 48 the time in ms."""
    number = (time.time_ns() // 1_000_000 << 82) | int.from_bytes(os.urandom(11)) >> 6
    return f"{prefix}_" + "".join([_PAIRS[number >> place & 1023] for place in _PLACES])


class Row(SQLModel):
    """What all rows share: one MetaData, whose constraints have names that migrations can use."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Operator(Row, table=True):
    """The root of trust: one row."""

    __tablename__ = "operators"

    id: str = Field(primary_key=True)
    name: str
    public_key: str = Field(unique=True)
    jwt: str
    created_at: int = Field(sa_type=_Seconds)


class Account(Row, table=True):
    """A NATS account."""

    __tablename__ = "accounts"

    id: str = Field(primary_key=True)
    kind: Literal["people", "mail", "system"] = Field(sa_type=String)
    name: str
    public_key: str = Field(unique=True)
    jwt: str
    """The account JWT that nats-server should hold."""
    revision: int = Field(default=0, sa_type=_Seconds)
    """Rises with each change that must reach nats-server."""
    published_revision: int = Field(default=-1, sa_type=_Seconds)
    """The revision that the JWT was made from."""
    issued_at: int = Field(sa_type=_Seconds)
    """``iat`` of the JWT: strictly rising."""
    created_at: int = Field(sa_type=_Seconds)


class SigningKey(Row, table=True):
    """A private key that the service holds, sealed by the keystore."""

    __tablename__ = "signing_keys"

    id: str = Field(primary_key=True)
    public_key: str = Field(unique=True)
    owner: Literal["operator", "account", "user"] = Field(sa_type=String)
    account_id: str | None = Field(default=None, foreign_key="accounts.id", index=True)
    purpose: Literal["identity", "signing", "login"] = Field(sa_type=String)
    name: str
    sealed_seed: bytes = Field(sa_type=LargeBinary, repr=False)
    state: Literal["prepared", "active", "retired"] = Field(sa_type=String)
    created_at: int = Field(sa_type=_Seconds)
    activated_at: int | None = Field(default=None, sa_type=_Seconds)
    retired_at: int | None = Field(default=None, sa_type=_Seconds)


class User(Row, table=True):
    """Somebody who may have credentials."""

    __tablename__ = "users"

    id: str = Field(primary_key=True)
    username: str = Field(unique=True)
    """Canonical."""
    token: str
    """The username in subjects."""
    kind: Literal["email", "service"] = Field(sa_type=String)
    disabled_at: int | None = Field(default=None, sa_type=_Seconds)
    superseded_at: int | None = Field(default=None, sa_type=_Seconds)
    """JWTs issued up to then are dead; their keys may renew."""
    max_subscriptions: int | None = None
    max_payload: int | None = None
    """Bytes."""
    roles: list[str] = Field(default_factory=list, sa_type=_Json)
    created_at: int = Field(sa_type=_Seconds)
    last_login_at: int | None = Field(default=None, sa_type=_Seconds)


class Credential(Row, table=True):
    """One nkey of one user; renewals and further logins keep the row."""

    __tablename__ = "credentials"

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    public_key: str = Field(unique=True)
    name: str
    app: str | None = None
    """Narrowed to this app, if to one."""
    method: str
    """The login method that proved the user."""
    ttl: int | None = None
    """Seconds, if the user asked for less than the setting."""
    login_at: int = Field(sa_type=_Seconds)
    issued_at: int = Field(sa_type=_Seconds)
    expires_at: int = Field(sa_type=_Seconds)
    """Of the last JWT."""
    alive_until: int = Field(sa_type=_Seconds)
    """When the last of all its JWTs expires: a shorter life may be asked for later."""
    jti: str
    """Of the last JWT."""
    revoked_at: int | None = Field(default=None, sa_type=_Seconds)
    superseded_at: int | None = Field(default=None, sa_type=_Seconds)
    last_used_at: int | None = Field(default=None, sa_type=_Seconds)
    created_at: int = Field(sa_type=_Seconds)


class Grant(Row, table=True):
    """What an administrator allowed in addition, to a user or to a role."""

    __tablename__ = "grants"

    id: str = Field(primary_key=True)
    user_id: str | None = Field(
        default=None, foreign_key="users.id", ondelete="CASCADE", index=True
    )
    role: str | None = Field(default=None, index=True)
    publish: list[str] = Field(default_factory=list, sa_type=_Json)
    subscribe: list[str] = Field(default_factory=list, sa_type=_Json)
    dangerous: bool = False
    """Reaches into what belongs to others."""
    note: str = ""
    created_by: str
    created_at: int = Field(sa_type=_Seconds)


class App(Row, table=True):
    """An app that a user offers."""

    __tablename__ = "apps"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", ondelete="CASCADE")
    name: str
    token: str
    """The name in subjects."""
    offline: bool = False
    """Requests wait in JetStream."""
    created_at: int = Field(sa_type=_Seconds)


class Revocation(Row, table=True):
    """An entry of an account JWT's revocations."""

    __tablename__ = "revocations"
    __table_args__ = (UniqueConstraint("account_id", "public_key"),)

    id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE")
    public_key: str
    """A user's nkey, or ``*``."""
    revoked_at: int = Field(sa_type=_Seconds)
    """JWTs with an ``iat`` up to and including this are dead."""
    expires_at: int = Field(sa_type=_Seconds, index=True)
    """From then on there is no JWT left that it could hit."""
    created_at: int = Field(sa_type=_Seconds)


class ApiKey(Row, table=True):
    """A key for the admin routes; only its digest is kept."""

    __tablename__ = "api_keys"

    id: str = Field(primary_key=True)
    name: str
    prefix: str
    """The first characters, to tell keys apart."""
    digest: str = Field(unique=True, repr=False)
    scopes: list[str] = Field(default_factory=list, sa_type=_Json)
    expires_at: int | None = Field(default=None, sa_type=_Seconds)
    last_used_at: int | None = Field(default=None, sa_type=_Seconds)
    revoked_at: int | None = Field(default=None, sa_type=_Seconds)
    created_at: int = Field(sa_type=_Seconds)


class AuditEvent(Row, table=True):
    """What was done, by whom, to what; written in the transaction of the deed."""

    __tablename__ = "audit_events"

    seq: int | None = Field(default=None, primary_key=True, sa_type=_Sequence)
    """In the order of writing; transactions side by side may commit in another one."""
    id: str = Field(unique=True)
    at: int = Field(sa_type=_Seconds, index=True)
    """Milliseconds since the epoch."""
    actor_kind: str
    actor_id: str
    action: str
    target_kind: str
    target_id: str = Field(index=True)
    request_id: str
    address: str
    details: dict[str, Any] = Field(default_factory=dict, sa_type=_Json)


class ProofUse(Row, table=True):
    """A DPoP proof that was used, so that it can't be used again."""

    __tablename__ = "proof_uses"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    digest: bytes = Field(primary_key=True, sa_type=LargeBinary)
    """Of its key and ``jti``."""
    issued_at: int = Field(sa_type=_Seconds, index=True)
    """The proof's own ``iat``: when it is too old to be taken, its mark can go."""


class ServerState(Row, table=True):
    """Which JWT of an account a nats-server holds, as it said itself."""

    __tablename__ = "server_states"

    server_id: str = Field(primary_key=True)
    account_id: str = Field(primary_key=True, foreign_key="accounts.id", ondelete="CASCADE")
    name: str
    issued_at: int = Field(sa_type=_Seconds)
    """``iat`` of that JWT."""
    seen_at: int = Field(sa_type=_Seconds)


class KeystoreCheck(Row, table=True):
    """One known text under the master key: tells at start whether the key is the right one."""

    __tablename__ = "keystore_checks"

    id: int = Field(default=1, primary_key=True)
    sealed: bytes = Field(sa_type=LargeBinary)
