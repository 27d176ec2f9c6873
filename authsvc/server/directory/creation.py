"""Creating users, one or a batch of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import ClaimsTooLarge, Conflict, InvalidName
from authsvc.nkey import Prefix, PublicKey
from authsvc.server import audit, policy
from authsvc.server.issuer import Issuer
from authsvc.server.models import Grant, User, new_id
from authsvc.server.sessions.proofs import insert_into

__all__ = ["ID_PATTERN", "Creation", "NewUser", "create_users", "ensure_fits", "grants_to"]

ID_PATTERN = r"usr_[0-9a-v]{26}\Z"
"""What an id looks like; no user is called so, because paths name users by either."""
_ID = re.compile(ID_PATTERN)
_NOBODY = PublicKey(Prefix.USER, bytes(32)).text
_SOME_ID = "crd_" + "0" * 26

_users = User.__table__  # type: ignore[attr-defined]
_select_existing = select(_users.c.username, _users.c.id).where(
    _users.c.username.in_(bindparam("names", expanding=True))
)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user who may be created.

    Args:
        username: As an administrator wrote it; canonical from then on.
        kind: ``email`` or ``service``.
        roles: Names of roles.
        max_subscriptions: In place of the setting's default.
        max_payload: The same, bytes.

    Raises:
        InvalidName: The contract refuses the name, or it could be taken for an id.
    """

    username: str
    kind: Literal["email", "service"] = "email"
    roles: tuple[str, ...] = ()
    max_subscriptions: int | None = None
    max_payload: int | None = None

    def __post_init__(self) -> None:
        form = subjects.username(self.username)
        if self.kind == "email" and "@" not in form:
            raise InvalidName(
                "the username is no e-mail address: it has no @; a service account needs "
                '"kind": "service"'
            )
        if _ID.match(form):
            raise InvalidName("the username looks like a user's id, which paths could not tell")
        object.__setattr__(self, "username", form)
        object.__setattr__(self, "roles", tuple(dict.fromkeys(self.roles)))


class Creation(NamedTuple):
    """What became of one new user."""

    id: str
    created: bool
    """False where there was such a user already; nothing about that one was changed."""


async def create_users(
    session: AsyncSession,
    issuer: Issuer,
    new: Sequence[NewUser],
    *,
    context: audit.Context,
    now: float,
) -> list[Creation | ClaimsTooLarge]:
    """Create the users who are not there yet, in a few statements.

    Args:
        session: Writing; the edge commits.
        issuer: The account's, which says what fits into a JWT.
        new: Whom; a name that stands twice is created once.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Returns:
        One for each, in the same order; the exception where a user's roles bring too much.
    """
    refused = await _too_large(session, issuer, new)
    # Sorted, so that two imports of one file don't wait for each other crosswise.
    first = {user.username: user for user in reversed(new) if user not in refused}
    rows = [_row(first[name], int(now)) for name in sorted(first)]
    connection = await session.connection()
    ids = await connection.run_sync(_insert, rows)
    created = {row["username"]: row for row in rows if ids[row["username"]] == row["id"]}
    at = int(now * 1000)
    events = [
        audit.event(context, "user.create", "user", row["id"], _details(row), at)
        for row in created.values()
    ]
    await audit.append(session, events)
    found: list[Creation | ClaimsTooLarge] = []
    for user in new:
        if user in refused:
            found.append(refused[user])
        else:
            is_new = created.pop(user.username, None) is not None
            found.append(Creation(ids[user.username], is_new))
    return found


async def _too_large(
    session: AsyncSession, issuer: Issuer, new: Sequence[NewUser]
) -> dict[NewUser, ClaimsTooLarge]:
    roles = {role for user in new for role in user.roles}
    grants = await grants_to(session, roles=roles) if roles else []
    refused = {}
    for user in new:
        own = [grant for grant in grants if grant.role in user.roles]
        if own:
            try:
                ensure_fits(issuer, subjects.token(user.username), own)
            except ClaimsTooLarge as error:
                refused[user] = error
    return refused


def _row(user: NewUser, now: int) -> dict[str, Any]:
    return {
        "id": new_id("usr"),
        "username": user.username,
        "token": subjects.token(user.username),
        "kind": user.kind,
        "roles": list(user.roles),
        "max_subscriptions": user.max_subscriptions,
        "max_payload": user.max_payload,
        "version": 1,
        "created_at": now,
    }


def _details(row: dict[str, Any]) -> dict[str, Any]:
    told = ("kind", "roles", "max_subscriptions", "max_payload")
    return {"username": row["username"], **{name: row[name] for name in told if row[name]}}


def _insert(connection: Connection, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Insert what is not there yet; the id of every one of the names."""
    if not rows:
        return {}
    statement = insert_into(connection, _users).on_conflict_do_nothing()
    statement = statement.returning(_users.c.username, _users.c.id)
    ids = {row.username: row.id for row in connection.execute(statement, rows)}
    missing = [row["username"] for row in rows if row["username"] not in ids]
    if missing:
        found = connection.execute(_select_existing, {"names": missing})
        ids |= {row.username: row.id for row in found}
        if len(ids) < len(rows):
            raise Conflict("a user of that name was deleted at this moment; try again")
    return ids


async def grants_to(
    session: AsyncSession, *, user_id: str | None = None, roles: Collection[str] = ()
) -> list[Grant]:
    """The grants of a user and of roles.

    Args:
        session: Any.
        user_id: Whose own, if anybody's.
        roles: Names of roles.
    """
    either: list[Any] = [col(Grant.role).in_(roles)]
    if user_id is not None:
        either.append(col(Grant.user_id) == user_id)
    return list(await session.scalars(select(Grant).where(or_(*either))))


def ensure_fits(issuer: Issuer, token: str, grants: Iterable[policy.GrantLike]) -> None:
    """Refuse what would make a user's JWT too large to connect with.

    Args:
        issuer: The account's.
        token: The user's encoded name.
        grants: All that the user would have.

    Raises:
        ClaimsTooLarge: It would.
    """
    try:
        issuer.issue(
            token=token,
            public_key=_NOBODY,
            credential=_SOME_ID,
            permissions=policy.permissions(token, grants=grants),
            # As many digits as they can have.
            subscriptions=2**31 - 1,
            payload=2**31 - 1,
            issued_at=1_700_000_000,
            expires_at=1_700_000_001,
        )
    except ClaimsTooLarge as error:
        raise ClaimsTooLarge(f"with these roles {error}") from None
