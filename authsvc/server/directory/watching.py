"""Whose connection it is, and whose mailboxes there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.server.models import App, Credential, DeadLetter, Mailbox, User

__all__ = ["MailboxRow", "Owner", "list_mailboxes", "owners_of"]

_PIECE = 400
"""Ids in one statement: databases bound its parameters."""


class Owner(NamedTuple):
    """A credential and its user."""

    credential: Credential
    username: str


class MailboxRow(NamedTuple):
    """A mailbox, its user, the apps whose requests wait, and how many dead letters there are."""

    mailbox: Mailbox
    user: User
    apps: list[App]
    dead_letters: int


async def owners_of(
    session: AsyncSession, ids: Iterable[str], public_keys: Iterable[str]
) -> Mapping[str, Owner]:
    """The credentials with some ids or nkeys, by id and by nkey.

    Args:
        session: Any.
        ids: Of credentials.
        public_keys: nkeys.
    """
    found: dict[str, Owner] = {}
    for column, values in (
        (col(Credential.id), list(dict.fromkeys(ids))),
        (col(Credential.public_key), list(dict.fromkeys(public_keys))),
    ):
        for at in range(0, len(values), _PIECE):
            rows = await session.execute(
                select(Credential, col(User.username))
                .join(User)
                .where(column.in_(values[at : at + _PIECE]))
            )
            for credential, username in rows:
                owner = Owner(credential, username)
                found[credential.id] = found[credential.public_key] = owner
    return found


async def list_mailboxes(
    session: AsyncSession, *, limit: int, after: str | None = None, user_id: str | None = None
) -> list[MailboxRow]:
    """Mailboxes of which nats-server has a stream, by username.

    Args:
        session: Any.
        limit: How many at most.
        after: The last name that was seen.
        user_id: Of this user alone.
    """
    statement: Any = select(Mailbox, User).join(User).where(col(Mailbox.streams) > 0)
    if after is not None:
        statement = statement.where(col(User.username) > after)
    if user_id is not None:
        statement = statement.where(col(User.id) == user_id)
    rows = list(await session.execute(statement.order_by(col(User.username)).limit(limit)))
    ids = [user.id for _, user in rows]
    apps: dict[str, list[App]] = {}
    for app in await session.scalars(
        select(App)
        .where(col(App.user_id).in_(ids), col(App.offline).is_(True))
        .order_by(col(App.name))
    ):
        apps.setdefault(app.user_id, []).append(app)
    counted = await session.execute(
        select(col(DeadLetter.user_id), func.count())
        .where(col(DeadLetter.user_id).in_(ids))
        .group_by(col(DeadLetter.user_id))
    )
    letters = {row[0]: row[1] for row in counted}
    return [
        MailboxRow(mailbox, user, apps.get(user.id, []), letters.get(user.id, 0))
        for mailbox, user in rows
    ]
