"""Grants: what administrators allow in addition, to one user or to all who have a role.

A grant counts from each user's next JWT on; taking one away ends the JWTs issued before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc import subjects
from authsvc.errors import DangerousGrant, InvalidInput, NotFound
from authsvc.server import audit, policy
from authsvc.server.grant_rules import Reach, reaches
from authsvc.server.models import Grant, User, new_id
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.sessions.scoped import (
    check_template,
    find_scoped,
    members_of,
    with_other_jwts,
)
from authsvc.server.sessions.sizes import Caps, ensure_fit
from authsvc.server.sessions.supersede import hold_permissions, supersede

__all__ = [
    "Explanation",
    "NewGrant",
    "Taken",
    "create_grant",
    "delete_grant",
    "explain",
    "get_grant",
    "list_grants",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrant:
    """What is to be allowed.

    Args:
        user: The one user who gets it; None where a role does.
        role: The role whose members get it; None where a user does.
        publish: Subjects that may be published to.
        subscribe: Subjects that may be subscribed to.
        note: What it is for.
        dangerous: Whether it may reach into what belongs to others.
    """

    user: User | None
    role: str | None
    publish: Sequence[str]
    subscribe: Sequence[str]
    note: str = ""
    dangerous: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A grant that was taken away, and how many live nkeys were cut for it."""

    grant: Grant
    username: str | None
    cut: int


async def create_grant(
    session: AsyncSession, new: NewGrant, *, caps: Caps, context: audit.Context, now: float
) -> Grant:
    """Allow something in addition, from each affected user's next JWT on.

    Members of a scoped role have it as soon as nats-server has the account JWT.

    Args:
        session: Writing; the edge commits, and propagates the account of a scoped role.
        new: The grant.
        caps: The limits of users who have none of their own.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        InvalidInput: It names both a user and a role or neither, allows nothing, or is for a
            scoped role whose template can't hold it.
        InvalidSubject: An entry is no subject.
        NotFound: The user is gone.
        DangerousGrant: It reaches into what belongs to others, and does not say so.
        ClaimsTooLarge: A JWT would get too large.
    """
    if (new.user is None) == (new.role is None):
        raise InvalidInput("a grant is for a user or for a role: give one of the two")
    if not new.publish and not new.subscribe:
        raise InvalidInput("the grant allows nothing: give publish or subscribe")
    found = reaches(new.publish, new.subscribe, new.user.token if new.user else None)
    if found and not new.dangerous:
        raise DangerousGrant(_refusal(found))
    await hold_permissions(session)
    grant = Grant(
        id=new_id("grt"),
        user_id=new.user.id if new.user else None,
        role=new.role,
        publish=list(dict.fromkeys(new.publish)),
        subscribe=list(dict.fromkeys(new.subscribe)),
        dangerous=bool(found),
        note=new.note,
        created_by=context.actor.id,
        created_at=int(now),
    )
    session.add(grant)
    try:
        await session.flush()
    except IntegrityError as error:
        raise NotFound("there is no such user any more") from error
    await ensure_fit(session, _affected(session, grant), caps)
    scoped = await find_scoped(session, grant.role)
    if scoped is not None:
        await check_template(session, scoped.name, caps)
        await raise_revision(session, scoped.account_id)
    details = _details(grant)
    if found:
        details["reaches"] = [reach._asdict() for reach in found]
    await _note(session, context, "grant.create", grant, details, now)
    return grant


def _refusal(found: Sequence[Reach]) -> str:
    entries = "; ".join(f"{reach.action} {reach.entry} reaches {reach.into}" for reach in found)
    return f'{entries}; if that is meant, say "dangerous": true, with a key that has scope admin'


async def delete_grant(
    session: AsyncSession, grant_id: str, *, account_id: str, context: audit.Context, now: float
) -> Taken:
    """Take a grant away, and end the JWTs that may carry it; their nkeys may renew at once.

    Args:
        session: Writing; the edge commits, and propagates the account.
        grant_id: Which.
        account_id: The account whose JWT carries the revocations.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        NotFound: There is no such grant.
    """
    await hold_permissions(session)
    grant, username = await get_grant(session, grant_id)
    affected = _affected(session, grant)
    await session.delete(grant)
    await session.flush()
    scoped = await find_scoped(session, grant.role)
    if scoped is not None:
        # All others lose it with the template, and keep their JWTs.
        affected = await with_other_jwts(session, scoped, affected, int(now))
    cut = await supersede(session, account_id, affected, now)
    if scoped is not None:
        await raise_revision(session, scoped.account_id)
    await _note(session, context, "grant.delete", grant, {**_details(grant), "cut": cut}, now)
    return Taken(grant, username, cut)


def _details(grant: Grant) -> dict[str, Any]:
    names = ("user_id", "role", "publish", "subscribe", "dangerous", "note")
    return {name: getattr(grant, name) for name in names}


async def _note(  # noqa: PLR0917 - they read as one sentence
    session: AsyncSession,
    context: audit.Context,
    action: str,
    grant: Grant,
    details: dict[str, Any],
    now: float,
) -> None:
    event = audit.event(context, action, "grant", grant.id, details, int(now * 1000))
    await audit.append(session, [event])


def _affected(session: AsyncSession, grant: Grant) -> Select[Any]:
    """A query for the ids of the users who have the grant."""
    if grant.user_id is not None:
        return select(col(User.id)).where(col(User.id) == grant.user_id)
    return members_of(session, str(grant.role))


async def get_grant(session: AsyncSession, grant_id: str) -> tuple[Grant, str | None]:
    """A grant, and the username of the user who has it, if it is one user's.

    Raises:
        NotFound: There is no such grant.
    """
    found = None
    if grant_id.isprintable():  # PostgreSQL takes no NUL
        found = (
            await session.execute(_with_username().where(col(Grant.id) == grant_id))
        ).one_or_none()
    if found is None:
        raise NotFound("there is no such grant")
    return found[0], found[1]


def _with_username() -> Any:
    return select(Grant, col(User.username)).outerjoin(User, col(User.id) == col(Grant.user_id))


async def list_grants(
    session: AsyncSession,
    *,
    user_id: str | None = None,
    role: str | None = None,
    limit: int,
    after: str | None = None,
) -> list[tuple[Grant, str | None]]:
    """Grants and their users' names, newest first.

    Args:
        session: Any.
        user_id: Only this user's own; those of the user's roles are not among them.
        role: Only this role's.
        limit: How many at most.
        after: The id of the last one that was seen; ids sort by their time of creation.
    """
    statement = _with_username()
    if user_id is not None:
        statement = statement.where(col(Grant.user_id) == user_id)
    if role is not None:
        statement = statement.where(col(Grant.role) == role)
    if after is not None:
        statement = statement.where(col(Grant.id) < after)
    rows = await session.execute(statement.order_by(col(Grant.id).desc()).limit(limit))
    return [(row[0], row[1]) for row in rows]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a user may do something, or may not.

    Args:
        rule: The entry that allows it; None where nothing does.
        grant: The grant that the entry is from; None where it is everybody's own.
        needed: What reaching it by a grant would touch; empty where a grant would be harmless.
    """

    rule: str | None
    grant: Grant | None
    needed: Sequence[Reach]


async def explain(
    session: AsyncSession, user: User, action: policy.Action, subject: str, app: str | None
) -> Explanation:
    """Which rule lets a user publish or subscribe.

    Args:
        session: Any.
        user: Who.
        action: ``publish`` or ``subscribe``.
        subject: A subject; a subscription's may hold wildcards.
        app: The app (raw name) that the credential is narrowed to, if it is.

    Raises:
        InvalidSubject: nats-server would refuse the subject itself.
        InvalidName: It is no app's name.
    """
    narrowed = subjects.token(subjects.app_name(app)) if app is not None else None
    rule = policy.explain(policy.permissions(user.token, narrowed), action, subject)
    if rule is not None:
        return Explanation(rule, None, ())
    grants: Sequence[Grant] = ()
    if narrowed is None:  # a narrowed credential gets no grants
        mine = or_(col(Grant.user_id) == user.id, col(Grant.role).in_(user.roles))
        grants = list(await session.scalars(select(Grant).where(mine).order_by(col(Grant.id))))
    for grant in grants:
        rule = policy.explain(policy.permissions(user.token, None, [grant]), action, subject)
        if rule is not None:
            return Explanation(rule, grant, ())
    entry = {"publish": [], "subscribe": [], action: [subject]}
    return Explanation(None, None, reaches(entry["publish"], entry["subscribe"], user.token))
