"""The apps that a user offers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import Conflict, NotFound
from authsvc.server.mailboxes.change import Change, lock_mailbox, note_change
from authsvc.server.models import App, DeadLetter, new_id

__all__ = ["delete_app", "find_app", "list_apps", "put_app"]


async def list_apps(
    session: AsyncSession, user_id: str, *, limit: int, after: str | None = None
) -> Sequence[App]:
    """Apps of a user, the oldest first.

    Args:
        session: Any.
        user_id: Whose.
        limit: How many, at most.
        after: The id of the last one that was seen.
    """
    statement = select(App).where(col(App.user_id) == user_id).order_by(col(App.id)).limit(limit)
    if after is not None:
        statement = statement.where(col(App.id) > after)
    return (await session.scalars(statement)).all()


async def find_app(session: AsyncSession, user_id: str, name: str) -> App:
    """An app of a user.

    Args:
        session: Any.
        user_id: Whose.
        name: In canonical form.

    Raises:
        NotFound: The user has no such app.
    """
    found = await session.scalar(
        select(App).where(col(App.user_id) == user_id).where(col(App.name) == name)
    )
    if found is None:
        raise NotFound("there is no such app")
    return found


async def put_app(session: AsyncSession, name: str, change: Change, *, offline: bool | None) -> App:
    """Register an app, or change it.

    Args:
        session: Writing; the edge commits.
        name: In canonical form.
        change: Who does it.
        offline: Whether requests wait for it; as it is, and not for a new one, if None.

    Raises:
        Conflict: The user has as many apps as may be, or there may be no further mailbox.
        NotFound: The user was deleted.
    """
    mailbox = await lock_mailbox(session, change)
    of_user = col(App.user_id) == change.user_id
    app = await session.scalar(select(App).where(of_user).where(col(App.name) == name))
    action = "app.update"
    if app is None:
        action = "app.create"
        count = await session.scalar(select(func.count()).select_from(App).where(of_user))
        if (count or 0) >= change.max_apps:
            raise Conflict(f"you have {count} apps, and no more are allowed; delete one first")
        app = App(
            id=new_id("app"),
            user_id=change.user_id,
            name=name,
            token=subjects.token(name),
            created_at=int(change.now),
        )
        session.add(app)
    elif offline is None or offline == app.offline:
        return app
    before = app.offline
    app.offline = before if offline is None else offline
    if app.offline != before:
        await note_change(session, mailbox, change)
    await session.flush()
    details = {"name": name, "offline": app.offline}
    await change.record(session, action, "app", app.id, details)
    return app


async def delete_app(session: AsyncSession, name: str, change: Change) -> App:
    """Forget an app; requests that wait for it go with it, and its dead letters.

    Args:
        session: Writing; the edge commits.
        name: In canonical form.
        change: Who does it.

    Raises:
        NotFound: The user has no such app.
    """
    mailbox = await lock_mailbox(session, change)
    app = await find_app(session, change.user_id, name)
    await session.execute(delete(App).where(col(App.id) == app.id))
    await session.execute(
        delete(DeadLetter)
        .where(col(DeadLetter.user_id) == change.user_id)
        .where(col(DeadLetter.app) == name)
    )
    if app.offline:
        await note_change(session, mailbox, change)
    details = {"name": name, "offline": app.offline}
    await change.record(session, "app.delete", "app", app.id, details)
    return app
