"""Users and what belongs to them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sqlalchemy import Index, LargeBinary, String, UniqueConstraint, text
from sqlmodel import Field

from authsvc.server.models.base import ByteOrder, Document, Row, Seconds

__all__ = ["App", "Credential", "DeadKey", "Grant", "UsedProof", "User"]


class User(Row, table=True):
    """Somebody who may have credentials."""

    __tablename__ = "users"
    # Lists are sorted by name; these two serve the filters that most rows don't pass.
    __table_args__ = (
        Index(
            "ix_users_disabled",
            "username",
            sqlite_where=text("disabled_at IS NOT NULL"),
            postgresql_where=text("disabled_at IS NOT NULL"),
        ),
        Index(
            "ix_users_with_roles",
            "username",
            sqlite_where=text("roles <> '[]'"),
            postgresql_where=text("roles <> '[]'"),
        ),
    )

    id: str = Field(primary_key=True)
    username: str = Field(unique=True, sa_type=ByteOrder)
    """Canonical."""
    token: str
    """The username in subjects."""
    kind: Literal["email", "service"] = Field(sa_type=String)
    disabled_at: int | None = Field(default=None, sa_type=Seconds)
    superseded_at: int | None = Field(default=None, sa_type=Seconds)
    """JWTs issued up to then are dead; their keys may renew."""
    max_subscriptions: int | None = None
    max_payload: int | None = None
    """Bytes."""
    roles: list[str] = Field(default_factory=list, sa_type=Document)
    version: int = 1
    """Rises with every change by an administrator; the ETag of the user."""
    created_at: int = Field(sa_type=Seconds)
    last_login_at: int | None = Field(default=None, sa_type=Seconds)


class Credential(Row, table=True):
    """One nkey of one user; renewals and further logins keep the row."""

    __tablename__ = "credentials"
    # Rows of connections by auth callout go when they are dead. What a login changes is in no
    # index: so PostgreSQL writes the row and nothing else (heap-only tuples).
    __table_args__ = (
        Index(
            "ix_credentials_callout",
            "created_at",
            sqlite_where=text("method = 'callout'"),
            postgresql_where=text("method = 'callout'"),
        ),
    )

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
    login_at: int = Field(sa_type=Seconds)
    issued_at: int = Field(sa_type=Seconds)
    expires_at: int = Field(sa_type=Seconds)
    """Of the last JWT."""
    alive_until: int = Field(sa_type=Seconds)
    """When the last of all its JWTs expires: a shorter life may be asked for later."""
    jti: str
    """Of the last JWT."""
    signer: str = ""
    """The account signing key that signed the last JWT."""
    revoked_at: int | None = Field(default=None, sa_type=Seconds)
    superseded_at: int | None = Field(default=None, sa_type=Seconds)
    last_used_at: int | None = Field(default=None, sa_type=Seconds)
    created_at: int = Field(sa_type=Seconds)


class DeadKey(Row, table=True):
    """An nkey of a user who was deleted: it belongs to nobody else, ever."""

    __tablename__ = "dead_keys"

    public_key: str = Field(primary_key=True)
    died_at: int = Field(sa_type=Seconds)


class Grant(Row, table=True):
    """What an administrator allowed in addition, to a user or to a role."""

    __tablename__ = "grants"

    id: str = Field(primary_key=True)
    user_id: str | None = Field(
        default=None, foreign_key="users.id", ondelete="CASCADE", index=True
    )
    role: str | None = Field(default=None, index=True)
    publish: list[str] = Field(default_factory=list, sa_type=Document)
    subscribe: list[str] = Field(default_factory=list, sa_type=Document)
    dangerous: bool = False
    """Reaches into what belongs to others."""
    note: str = ""
    created_by: str
    created_at: int = Field(sa_type=Seconds)


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
    created_at: int = Field(sa_type=Seconds)


class UsedProof(Row, table=True):
    """A DPoP proof that was used, so that it can't be used again."""

    __tablename__ = "used_proofs"
    __table_args__: ClassVar[dict[str, Any]] = {"sqlite_with_rowid": False}

    mark: bytes = Field(primary_key=True, sa_type=LargeBinary)
    """Its own ``iat`` in 8 bytes, and 16 bytes of a digest of its key and ``jti``: when it is too
    old to be taken, the mark can go."""
