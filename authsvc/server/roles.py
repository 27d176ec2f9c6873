"""Roles that are scoped: a signing key of their own carries what their members may do.

    role = await make_scoped(session, keystore, "sensors", terms, context=..., now=...)
    ... commit, propagate: every nats-server knows the key ...
    await activate(session, "sensors", context=..., now=...)

Any name that users or grants have is a role; being scoped is an addition. Between the two steps
members get JWTs as before, so that nobody comes with a key that a nats-server does not know yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import func, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import decode_account
from authsvc.errors import Conflict, NotFound
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, verify_master_key
from authsvc.server.models import Account, Grant, Role, SigningKey, User, key_slot, new_id
from authsvc.server.provision.reconcile import Propagation, Reconciler
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.sessions.scoped import check_template, find_scoped, members_of
from authsvc.server.sessions.sizes import Caps
from authsvc.server.sessions.supersede import hold_permissions, supersede

__all__ = [
    "MOST_SCOPED",
    "Listed",
    "activate",
    "activate_where_known",
    "list_roles",
    "make_scoped",
    "set_caps",
    "tend",
    "unscope",
]

MOST_SCOPED = 10
"""Templates stand in the account JWT, and each may take as much room as a user JWT."""

_ITSELF = audit.Context(audit.Actor("service", "authsvc"), "", "")
log = structlog.get_logger("authsvc.roles")


@dataclass(frozen=True, slots=True)
class Listed:
    """A role as administrators see it.

    Args:
        name: What users and grants call it.
        members: How many users have it.
        grants: How many it has.
        public_key: Of its signing key, where it is scoped.
        active: Whether that key signs; until every nats-server knows it, it does not.
    """

    name: str
    members: int = 0
    grants: int = 0
    public_key: str | None = None
    active: bool = False


async def list_roles(session: AsyncSession) -> list[Listed]:
    """All roles that a user or a grant has or that are scoped, by name."""
    members = {row[0]: row[1] for row in await session.execute(_count_members(session))}
    grants = {
        str(row[0]): row[1]
        for row in await session.execute(
            select(col(Grant.role), func.count())
            .where(col(Grant.role).is_not(None))
            .group_by(col(Grant.role))
        )
    }
    scoped = {
        row[0]: (row[1], row[2] == "active")
        for row in await session.execute(
            select(col(Role.name), col(Role.public_key), col(SigningKey.state)).join(
                SigningKey, col(SigningKey.public_key) == col(Role.public_key)
            )
        )
    }
    return [
        Listed(name, members.get(name, 0), grants.get(name, 0), *scoped.get(name, (None, False)))
        for name in sorted({*members, *grants, *scoped})
    ]


def _count_members(session: AsyncSession) -> Any:
    if session.get_bind().dialect.name == "postgresql":
        each = func.jsonb_array_elements_text(col(User.roles)).table_valued("value")
    else:
        each = func.json_each(col(User.roles)).table_valued("value")
    return (
        select(each.c.value, func.count(col(User.id).distinct()))
        .select_from(User)
        .join(each, onclause=true())
        .where(text("roles <> '[]'"))
        .group_by(each.c.value)
    )


async def make_scoped(
    session: AsyncSession,
    keystore: Keystore,
    name: str,
    *,
    account_id: str,
    caps: Caps,
    context: audit.Context,
    now: float,
) -> Role:
    """Give a role a signing key; the account JWT will hold it with the role's template.

    One that is scoped already stays as it is.

    Args:
        session: Writing; the edge commits, propagates the account and then activates the key.
        keystore: Seals the seed.
        name: The role's.
        account_id: The people's account.
        caps: The limits of its members' connections.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Raises:
        Conflict: Too many roles are scoped.
        InvalidInput: nats-server would replace something in one of its grants.
        ClaimsTooLarge: Its grants are too many for a template.
    """
    await hold_permissions(session)
    role = await find_scoped(session, name)
    if role is not None:
        return role
    if (await session.scalar(select(func.count()).select_from(Role)) or 0) >= MOST_SCOPED:
        raise Conflict(f"{MOST_SCOPED} roles are scoped, and no more can be")
    await check_template(session, name, caps)
    # The account's row first: who rotates a key holds it before the master key's.
    await raise_revision(session, account_id)
    await verify_master_key(session, keystore, hold=True)  # so that it seals by today's
    pair = KeyPair.generate(Prefix.ACCOUNT)
    slot = key_slot("account", f"role:{name}", account_id)
    generations = select(func.max(col(SigningKey.generation))).where(col(SigningKey.slot) == slot)
    key = SigningKey(
        id=new_id("key"),
        public_key=pair.public.text,
        owner="account",
        account_id=account_id,
        purpose="role",
        slot=slot,
        generation=(await session.scalar(generations) or 0) + 1,
        name=f"signing key of the role {name}",
        sealed_seed=keystore.seal(pair, pair.public.text),
        state="prepared",
        created_at=int(now),
    )
    role = Role(
        name=name,
        account_id=account_id,
        public_key=key.public_key,
        max_subscriptions=caps.subscriptions,
        max_payload=caps.payload,
        created_by=context.actor.id,
        created_at=int(now),
    )
    session.add_all([key, role])
    await session.flush()
    await _note(session, context, "role.scope", role, now)
    return role


async def activate(session: AsyncSession, name: str, *, context: audit.Context, now: float) -> bool:
    """Let a scoped role's key sign from now on, and end the JWTs that its members have.

    Args:
        session: Writing; the edge commits and propagates the account.
        name: The role's; every nats-server knows its key.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Returns:
        Whether there was anything to do.
    """
    await hold_permissions(session)
    role = await find_scoped(session, name)
    if role is None:
        return False
    key = await _key(session, role)
    account = await session.get_one(Account, role.account_id, populate_existing=True)
    if key.state != "prepared" or key.public_key not in decode_account(account.jwt).signing_keys:
        return False
    key.state = "active"
    key.activated_at = int(now)
    await session.flush()
    cut = await supersede(session, role.account_id, members_of(session, name), now)
    await _note(session, context, "role.activate", role, now, cut=cut)
    return True


async def unscope(session: AsyncSession, name: str, *, context: audit.Context, now: float) -> int:
    """Take a role's signing key away; its members' next JWTs are by the account's own key.

    Args:
        session: Writing; the edge commits and propagates the account.
        name: The role's.
        context: Who does it, for the audit.
        now: Seconds since the epoch.

    Returns:
        How many live nkeys were cut; they may renew at once.

    Raises:
        NotFound: It is not scoped.
    """
    await hold_permissions(session)
    role = await find_scoped(session, name)
    if role is None:
        raise NotFound(f"the role {name} is not scoped")
    key = await _key(session, role)
    key.state = "retired"
    key.retired_at = int(now)
    key.sealed_seed = b""
    await session.delete(role)
    await session.flush()
    cut = await supersede(session, role.account_id, members_of(session, name), now)
    await raise_revision(session, role.account_id)
    await _note(session, context, "role.unscope", role, now, cut=cut)
    return cut


async def _key(session: AsyncSession, role: Role) -> SigningKey:
    statement = (
        select(SigningKey)
        .where(col(SigningKey.public_key) == role.public_key)
        .execution_options(populate_existing=True)
        .with_for_update()
    )
    return (await session.scalars(statement)).one()


async def _note(
    session: AsyncSession,
    context: audit.Context,
    action: str,
    role: Role,
    now: float,
    **more: object,
) -> None:
    details = {"public_key": role.public_key, **more}
    event = audit.event(context, action, "role", role.name, details, int(now * 1000))
    await audit.append(session, [event])


async def activate_where_known(
    database: Database,
    reconciler: Reconciler,
    account_id: str,
    name: str,
    *,
    context: audit.Context,
    now: float,
) -> Propagation:
    """Tell every nats-server a role's key, and let it sign once all have it.

    Where one can't be reached the key stays prepared; ``tend`` activates it later.
    """
    found = await reconciler.propagate(account_id)
    if found.state != "applied":
        return found
    async with database.writing() as session:
        done = await activate(session, name, context=context, now=now)
    return await reconciler.propagate(account_id) if done else found


async def tend(database: Database, reconciler: Reconciler, account_id: str, now: float) -> None:
    """Activate the keys of scoped roles that every nats-server knows by now."""
    async with database.reading() as session:
        waiting = list(
            await session.scalars(
                select(col(Role.name))
                .join(SigningKey, col(SigningKey.public_key) == col(Role.public_key))
                .where(col(SigningKey.state) == "prepared")
            )
        )
    for name in waiting:
        await activate_where_known(database, reconciler, account_id, name, context=_ITSELF, now=now)


async def set_caps(session: AsyncSession, caps: Caps) -> None:
    """Bring the templates to the limits that the settings say today.

    Args:
        session: Writing; the edge commits, and the accounts are published as they are then.
        caps: The limits of members' connections.
    """
    values = {"max_subscriptions": caps.subscriptions, "max_payload": caps.payload}
    changed = await session.scalars(
        update(Role)
        .where(
            (col(Role.max_subscriptions) != caps.subscriptions)
            | (col(Role.max_payload) != caps.payload)
        )
        .values(**values)
        .returning(col(Role.account_id))
    )
    for account_id in sorted(set(changed)):
        await raise_revision(session, account_id)
