"""Changing users: roles and limits, disable and enable, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

from sqlalchemy import delete, insert, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.errors import NotFound, VersionMismatch
from authsvc.server import audit, policy
from authsvc.server.models import Credential, DeadKey, Grant, User
from authsvc.server.sessions import revoke_all
from authsvc.server.sessions.scoped import scoped_names
from authsvc.server.sessions.sizes import Caps, ensure_fit
from authsvc.server.sessions.supersede import supersede

__all__ = ["Edit", "UserChanges", "delete_user", "set_disabled", "update_user"]


class UserChanges(TypedDict, total=False):
    """What is to be another; a member that is absent stays. None: the setting's default."""

    roles: list[str]
    max_subscriptions: int | None
    max_payload: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change by an administrator.

    Args:
        account_id: The people's account, whose JWT carries revocations.
        context: Who does it, for the audit.
        now: Seconds since the epoch.
        fits: Whether a version of the user is one that the administrator has seen.
    """

    account_id: str
    context: audit.Context
    now: float
    fits: Callable[[int], bool] = lambda _version: True

    def ensure_fits(self, user: User) -> None:
        """Refuse to overwrite what somebody else changed.

        Raises:
            VersionMismatch: The user has another version by now.
        """
        if not self.fits(user.version):
            raise VersionMismatch(
                f"{user.username} was changed in the meantime and has version {user.version}; "
                "read it again and decide anew"
            )

    def event(self, action: str, user: User, details: dict[str, Any]) -> dict[str, Any]:
        """The change's audit event."""
        at = int(self.now * 1000)
        told = {"username": user.username, **details}
        return audit.event(self.context, action, "user", user.id, told, at)


async def update_user(
    session: AsyncSession,
    user: User,
    changes: UserChanges,
    edit: Edit,
    caps: Caps,
) -> None:
    """Give a user other roles or limits.

    What only widens comes with the next JWT. Where a limit falls or a permission goes, the JWTs
    issued so far are superseded.

    Args:
        session: Writing; the edge commits.
        user: The locked row; ``hold_permissions`` came before the lock where roles change.
        changes: What is to be another.
        edit: Who changes it.
        caps: The limits of users who have none of their own.

    Raises:
        VersionMismatch: Somebody else was quicker.
        ClaimsTooLarge: With the roles' grants the user's JWT would be too large.
    """
    edit.ensure_fits(user)
    if "roles" in changes:
        changes = {**changes, "roles": list(dict.fromkeys(changes["roles"]))}
    after = {name: value for name, value in changes.items() if getattr(user, name) != value}
    if not after:
        return
    before = {name: getattr(user, name) for name in after}
    roles = set(user.roles)
    limits = _limits(user, caps)
    allowed = await _permissions(session, user)
    for name, value in after.items():
        setattr(user, name, value)
    user.version += 1
    await session.flush()
    if "roles" in after:
        await ensure_fit(session, [user.id], caps)
    lower = any(new < old for new, old in zip(_limits(user, caps), limits, strict=True))
    narrowed = lower or not allowed <= await _permissions(session, user)
    # What a scoped role's key signed grows with the role, also after its user has left it.
    narrowed |= not (roles | set(user.roles)).isdisjoint(await scoped_names(session))
    cut = await supersede(session, edit.account_id, [user.id], edit.now) if narrowed else 0
    details = {"before": before, "after": after, "cut": cut}
    await audit.append(session, [edit.event("user.update", user, details)])


def _limits(user: User, caps: Caps) -> tuple[int, int]:
    return user.max_subscriptions or caps.subscriptions, user.max_payload or caps.payload


async def _permissions(session: AsyncSession, user: User) -> set[tuple[str, str]]:
    """What the user may do, an entry each."""
    of_user = or_(col(Grant.user_id) == user.id, col(Grant.role).in_(user.roles))
    grants = list(await session.scalars(select(Grant).where(of_user)))
    allowed = policy.permissions(user.token, grants=grants)
    return {("publish", entry) for entry in allowed.publish.allow} | {
        ("subscribe", entry) for entry in allowed.subscribe.allow
    }


async def set_disabled(session: AsyncSession, user: User, edit: Edit, *, disabled: bool) -> None:
    """Disable a user or enable again; doing it twice changes nothing.

    Who is disabled loses every connection and gets no JWT. The nkeys stay the user's: enabled
    again, they log in and renew as before.

    Args:
        session: Writing; the edge commits.
        user: The locked row.
        edit: Who does it.
        disabled: Which of the two.

    Raises:
        VersionMismatch: Somebody else was quicker.
    """
    edit.ensure_fits(user)
    if disabled == (user.disabled_at is not None):
        return
    details = {}
    if disabled:
        details["cut"] = await supersede(session, edit.account_id, [user.id], edit.now)
    user.disabled_at = int(edit.now) if disabled else None
    user.version += 1
    action = "user.disable" if disabled else "user.enable"
    await audit.append(session, [edit.event(action, user, details)])


async def delete_user(session: AsyncSession, user_id: str, edit: Edit) -> User:
    """Delete a user with everything that belongs to the user, for ever.

    Every nkey is revoked and stays dead. The name is free: with AUTO_CREATE_USERS its holder
    may log in with a new nkey and is another user; disabling is what keeps somebody out.

    Args:
        session: Writing; the edge commits.
        user_id: Whom.
        edit: Who does it.

    Raises:
        NotFound: There is no such user.
        VersionMismatch: Somebody else was quicker.
    """
    # Credentials first, as the desk does: two that lock crosswise would wait for each other.
    of_user = col(Credential.user_id) == user_id
    await session.execute(
        select(col(Credential.id))
        .where(of_user)
        .order_by(col(Credential.public_key))
        .with_for_update()
    )
    user = await session.scalar(select(User).where(col(User.id) == user_id).with_for_update())
    if user is None:
        raise NotFound("there is no such user")
    edit.ensure_fits(user)
    revoked = await revoke_all(
        session, user.id, account_id=edit.account_id, context=edit.context, now=edit.now
    )
    keys = select(col(Credential.public_key), literal(int(edit.now))).where(of_user)
    await session.execute(insert(DeadKey).from_select(["public_key", "died_at"], keys))
    await audit.append(session, [edit.event("user.delete", user, {"revoked_keys": revoked})])
    await session.execute(delete(User).where(col(User.id) == user.id))
    return user
