"""The first schema.

Revision 0001, after none. There is no way back but a backup.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def _columns(words: str, kind: Any) -> list[sa.Column[Any]]:
    """One column per word, NOT NULL unless the word ends with a question mark."""
    return [
        sa.Column(word.rstrip("?"), kind, nullable=word.endswith("?")) for word in words.split()
    ]


def _text(words: str) -> list[sa.Column[Any]]:
    return _columns(words, sa.String())


def _seconds(words: str) -> list[sa.Column[Any]]:
    return _columns(words, sa.BigInteger())


def _integer(words: str) -> list[sa.Column[Any]]:
    return _columns(words, sa.Integer())


def _json(words: str) -> list[sa.Column[Any]]:
    return _columns(words, _JSON)


def _bytes(words: str) -> list[sa.Column[Any]]:
    return _columns(words, sa.LargeBinary())


def _flag(words: str) -> list[sa.Column[Any]]:
    return _columns(words, sa.Boolean())


def _table(
    name: str,
    *columns: list[sa.Column[Any]],
    key: str = "id",
    unique: str = "",
    index: str = "",
    belongs: str = "",
    points: str = "",
    **options: Any,
) -> None:
    """Create a table.

    Args:
        name: Its name.
        columns: In their order.
        key: The primary key's columns.
        unique: Unique constraints; a comma joins the columns of one.
        index: Columns with an index of their own.
        belongs: ``column:table``, rows go with the row they point to.
        points: ``column:table``, the row that is pointed to has to stay.
        options: Of the table, for one kind of database.
    """
    references: list[tuple[str, str | None]] = [(pair, "CASCADE") for pair in belongs.split()]
    references += [(pair, None) for pair in points.split()]
    # Constraints get their names from the models' convention, which env.py hands to Alembic.
    op.create_table(
        name,
        *[column for group in columns for column in group],
        sa.PrimaryKeyConstraint(*key.split()),
        *[sa.UniqueConstraint(*names.split(",")) for names in unique.split()],
        *[
            sa.ForeignKeyConstraint([column], [f"{table}.id"], ondelete=rule)
            for (column, _, table), rule in (
                (pair.partition(":"), rule) for pair, rule in references
            )
        ],
        **options,
    )
    for column in index.split():
        op.create_index(f"ix_{name}_{column}", name, [column])


def upgrade() -> None:
    """Apply."""
    _accounts()
    _users()
    _table(
        "api_keys",
        _text("id name prefix digest"),
        _json("scopes"),
        _seconds("expires_at? last_used_at? revoked_at? created_at"),
        unique="digest",
    )
    _table(
        "audit_events",
        _columns("seq", _SEQUENCE),
        _text("id"),
        _seconds("at"),
        _text("actor_kind actor_id action target_kind target_id request_id address"),
        _json("details"),
        key="seq",
        unique="id",
        index="at target_id",
    )
    _table(
        "proof_uses",
        _bytes("digest"),
        _seconds("issued_at"),
        key="digest",
        index="issued_at",
        sqlite_with_rowid=False,
    )
    _table("keystore_checks", _integer("id"), _bytes("sealed"))


def _accounts() -> None:
    _table(
        "operators", _text("id name public_key jwt"), _seconds("created_at"), unique="public_key"
    )
    _table(
        "accounts",
        _text("id kind name public_key jwt"),
        _seconds("revision published_revision issued_at created_at"),
        unique="public_key",
    )
    _table(
        "signing_keys",
        _text("id public_key owner account_id? purpose name"),
        _bytes("sealed_seed"),
        _text("state"),
        _seconds("created_at activated_at? retired_at?"),
        unique="public_key",
        index="account_id",
        points="account_id:accounts",
    )
    _table(
        "revocations",
        _text("id account_id public_key"),
        _seconds("revoked_at expires_at created_at"),
        unique="account_id,public_key",
        index="expires_at",
        belongs="account_id:accounts",
    )
    _table(
        "server_states",
        _text("server_id account_id name"),
        _seconds("issued_at seen_at"),
        key="server_id account_id",
        belongs="account_id:accounts",
    )


def _users() -> None:
    _table(
        "users",
        _text("id username token kind"),
        _seconds("disabled_at? superseded_at?"),
        _integer("max_subscriptions? max_payload?"),
        _json("roles"),
        _seconds("created_at last_login_at?"),
        unique="username",
    )
    _table(
        "credentials",
        _text("id user_id public_key name app? method"),
        _integer("ttl?"),
        _seconds("login_at issued_at expires_at alive_until"),
        _text("jti"),
        _seconds("revoked_at? superseded_at? last_used_at? created_at"),
        unique="public_key",
        index="user_id",
        belongs="user_id:users",
    )
    _table(
        "grants",
        _text("id user_id? role?"),
        _json("publish subscribe"),
        _flag("dangerous"),
        _text("note created_by"),
        _seconds("created_at"),
        index="user_id role",
        belongs="user_id:users",
    )
    _table(
        "apps",
        _text("id user_id name token"),
        _flag("offline"),
        _seconds("created_at"),
        unique="user_id,name",
        belongs="user_id:users",
    )
