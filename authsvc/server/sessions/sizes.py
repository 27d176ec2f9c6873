"""Whether users' JWTs still fit nats-server's CONNECT line after a change of what they may do.

    session.add(grant)
    await session.flush()
    await ensure_fit(session, affected, Caps(settings.user_max_subscriptions, settings.max_payload))

A JWT's size rests on the length of the user's token, on limits, roles and grants, and on nothing
else: users who share these are looked at once, by signing a JWT with a key that nobody trusts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import MAX_USER_JWT_BYTES
from authsvc.errors import ClaimsTooLarge
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import policy
from authsvc.server.issuer import Issuer
from authsvc.server.models import Grant, User, new_id
from authsvc.server.sessions.supersede import UserIds

__all__ = ["Caps", "ensure_fit", "template_fits"]

_NAMED = 5
"""Users whom a refusal names."""
_TIME = 4_000_000_000


class Caps(NamedTuple):
    """What the settings give to users who have no limits of their own."""

    subscriptions: int
    payload: int


class _Shape(NamedTuple):
    """Users whose JWTs have the same size, and one of their tokens."""

    length: int
    subscriptions: int | None
    payload: int | None
    roles: list[str]
    user_id: str | None
    token: str
    users: int


async def ensure_fit(session: AsyncSession, user_ids: UserIds, caps: Caps) -> None:
    """Refuse what the session has changed if a JWT of one of the users would be too large.

    Args:
        session: With the change flushed.
        user_ids: Whom it affects.
        caps: The limits of users who have none of their own.

    Raises:
        ClaimsTooLarge: It names how many users, and the first few.
    """
    grants = list(
        await session.scalars(
            select(Grant).where(or_(col(Grant.user_id).in_(user_ids), col(Grant.role).is_not(None)))
        )
    )
    too_large = [
        shape
        for shape in await _shapes(session, user_ids)
        if not _fits(shape, [grant for grant in grants if _has(shape, grant)], caps)
    ]
    if not too_large:
        return
    count = sum(shape.users for shape in too_large)
    names = await _names(session, user_ids, too_large)
    raise ClaimsTooLarge(
        f"the JWTs of {count} {'user' if count == 1 else 'users'} would have more than "
        f"{MAX_USER_JWT_BYTES} bytes: {', '.join(names)}{', ...' if count > len(names) else ''}; "
        "take other grants away, or merge entries into fewer ones with wildcards"
    )


async def _shapes(session: AsyncSession, user_ids: UserIds) -> list[_Shape]:
    own = _has_own()
    length: Any = func.length(col(User.token))
    columns: list[Any] = [
        length,
        col(User.max_subscriptions),
        col(User.max_payload),
        col(User.roles),
    ]
    affected = col(User.id).in_(user_ids)
    shared = await session.execute(
        select(*columns, func.min(col(User.token)), func.count())
        .where(affected, ~own)
        .group_by(*columns)
    )
    shapes = [_Shape(*row[:4], None, row[4], row[5]) for row in shared]
    single = await session.execute(
        select(*columns, col(User.id), col(User.token)).where(affected, own)
    )
    return shapes + [_Shape(*row[:4], row[4], row[5], 1) for row in single]


def _has_own() -> Any:
    return select(col(Grant.id)).where(col(Grant.user_id) == col(User.id)).exists()


def _has(shape: _Shape, grant: Grant) -> bool:
    if grant.user_id is not None:
        return grant.user_id == shape.user_id
    return grant.role in shape.roles


@cache
def _probe() -> tuple[Issuer, str]:
    """An issuer whose JWTs are as long as real ones, and a user's key."""
    account = KeyPair.generate(Prefix.ACCOUNT)
    return Issuer(account.public.text, account), KeyPair.generate(Prefix.USER).public.text


def _fits(shape: _Shape, grants: Sequence[Grant], caps: Caps) -> bool:
    issuer, public_key = _probe()
    try:
        issuer.issue(
            token=shape.token,
            public_key=public_key,
            credential=new_id("crd"),
            permissions=policy.permissions(shape.token, grants=grants),
            subscriptions=shape.subscriptions or caps.subscriptions,
            payload=shape.payload or caps.payload,
            issued_at=_TIME,
            expires_at=_TIME,
        )
    except ClaimsTooLarge:
        return False
    return True


def template_fits(grants: Sequence[Grant], caps: Caps) -> bool:
    """Whether a role's template takes no more room than a user JWT may.

    Args:
        grants: The role's.
        caps: The limits of its members.
    """
    shape = _Shape(0, None, None, [], None, policy.TEMPLATE_NAME, 0)
    return _fits(shape, grants, caps)


async def _names(session: AsyncSession, user_ids: UserIds, shapes: Sequence[_Shape]) -> list[str]:
    """The first few users of the shapes."""
    names: list[str] = []
    for shape in shapes:
        statement = select(col(User.username)).where(col(User.id).in_(user_ids))
        if shape.user_id is not None:
            statement = statement.where(col(User.id) == shape.user_id)
        else:
            statement = statement.where(
                ~_has_own(),
                func.length(col(User.token)) == shape.length,
                col(User.max_subscriptions).is_not_distinct_from(shape.subscriptions),
                col(User.max_payload).is_not_distinct_from(shape.payload),
                col(User.roles) == shape.roles,
            )
        room = _NAMED - len(names)
        names += await session.scalars(statement.order_by(col(User.username)).limit(room))
        if len(names) >= _NAMED:
            break
    return sorted(names)
