"""Reading what mailboxes shall be, and writing down what nats-server has."""

from __future__ import annotations

from sqlalchemy import ColumnElement, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import InvalidSubject
from authsvc.server.models import App, Mailbox, User
from authsvc.server.provision.mail_streams import Desired

__all__ = ["all_desired", "desired_by_token", "hold", "note_applied", "pending_tokens"]

_LOCK = 0x706F7374  # any number that nobody else takes here


async def hold(session: AsyncSession, token: str) -> None:
    """Be the only one among all replicas who changes a user's streams, to the transaction's end.

    Args:
        session: Writing, on PostgreSQL: replicas share no other database.
        token: The user's name in subjects.
    """
    parameters = {"lock": _LOCK, "token": token}
    await session.execute(text("select pg_advisory_xact_lock(:lock, hashtext(:token))"), parameters)


async def desired_by_token(session: AsyncSession, token: str) -> Desired | None:
    """The mailbox of the user with the token; None where no stream is wanted.

    Args:
        session: Any.
        token: The user's name in subjects.
    """
    try:
        name = subjects.untoken(token)
    except InvalidSubject:
        return None  # from the name of a stream that nobody's is
    # By the name, which has an index.
    found = await _desired(session, col(User.username) == name)
    return found[0] if found else None


async def all_desired(session: AsyncSession) -> list[Desired]:
    """Every mailbox of which a stream is wanted.

    Args:
        session: Any.
    """
    return await _desired(session, col(Mailbox.streams) > 0)


async def pending_tokens(session: AsyncSession) -> list[str]:
    """The tokens of the users whose newest change nats-server may not have.

    Args:
        session: Any.
    """
    found = await session.scalars(
        select(col(User.token))
        .join(Mailbox, col(Mailbox.user_id) == col(User.id))
        .where(col(Mailbox.applied) < col(Mailbox.revision))
    )
    return list(found)


async def note_applied(session: AsyncSession, desired: Desired) -> None:
    """Write down that nats-server has a mailbox, unless that was changed again.

    Args:
        session: Writing; the edge commits.
        desired: What it has.
    """
    await session.execute(
        update(Mailbox)
        .where(col(Mailbox.user_id) == desired.owner)
        .where(col(Mailbox.revision) == desired.revision)
        .values(applied=desired.revision)
    )


async def _desired(session: AsyncSession, which: ColumnElement[bool]) -> list[Desired]:
    rows = await session.execute(
        select(Mailbox, col(User.token), col(App.token))
        .join(User, col(User.id) == col(Mailbox.user_id))
        .outerjoin(App, (col(App.user_id) == col(User.id)) & col(App.offline))
        .where(which)
        .order_by(col(Mailbox.user_id), col(App.token))
        .execution_options(populate_existing=True)
    )
    boxes: dict[str, tuple[Mailbox, str, list[str]]] = {}
    for mailbox, token, app in rows:
        _, _, apps = boxes.setdefault(mailbox.user_id, (mailbox, token, []))
        if app is not None:
            apps.append(app)
    return [
        Desired(
            owner=mailbox.user_id,
            token=token,
            apps=tuple(apps),
            responses=mailbox.responses,
            max_age=mailbox.max_age,
            max_pending=mailbox.max_pending,
            revision=mailbox.revision,
            applied=mailbox.applied,
        )
        for mailbox, token, apps in boxes.values()
    ]
