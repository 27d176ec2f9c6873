"""Rotating the operator's signing key, which signs the accounts.

nats-server reads the operator JWT from its configuration when it starts, and no later: a new one
can't be pushed, and reloading refuses it. So a prepared key becomes active once every live server
says that it was started with an operator JWT that lists the key. The operator JWT is signed by
the operator's identity key, which must be here for that.
"""

from __future__ import annotations

import time
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from authsvc.claims import decode_account, decode_operator, encode, ensure_valid
from authsvc.errors import Conflict, KeyUnavailable
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore, verify_master_key
from authsvc.server.models import Account, Operator, SigningKey, key_slot, new_id
from authsvc.server.provision.reconcile import Holding, Propagation, Reconciler
from authsvc.server.provision.resolver import Server
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.rotation.custody import find_key
from authsvc.server.rotation.lines import read_line
from authsvc.server.rotation.steps import Rotated, choose_retiring, note

__all__ = ["OperatorRotation", "Operators"]

_RESTART = (
    "write each nats-server's configuration anew (authsvc nats config; authsvc up does it when it "
    "starts) and restart them one after another"
)


_NAMED = 20


class Operators(Protocol):
    """Who knows by which operator JWT each server runs."""

    async def operators(self) -> dict[Server, str]:
        """Each live server, and the operator JWT that it was started with."""


class OperatorRotation:
    """Rotates the operator's signing key.

    Args:
        database: Where the operator is.
        keystore: Seals what is made.
        reconciler: Pushes the accounts when another key signs them.
        servers: Say what they trust; None where there is no way to them.
    """

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        reconciler: Reconciler,
        servers: Operators | None,
    ) -> None:
        self._database = database
        self._keystore = keystore
        self._reconciler = reconciler
        self._servers = servers

    async def prepare(self, context: audit.Context, *, automatic: bool) -> Rotated:
        """Make the next key, and the operator JWT that lists it as well.

        Args:
            context: Who does it, for the audit.
            automatic: Whether it becomes active as soon as every server trusts it.

        Raises:
            Conflict: The operator's identity key is not here.
        """
        now = int(time.time())
        async with self._database.writing() as session:
            operator = await _locked(session)
            line = await read_line(session, None)
            key = line.prepared
            if key is None:
                await verify_master_key(session, self._keystore, hold=True)
                pair = KeyPair.generate(Prefix.OPERATOR)
                key = SigningKey(
                    id=new_id("key"),
                    public_key=pair.public.text,
                    owner="operator",
                    purpose="signing",
                    slot=key_slot("operator", "signing", None),
                    generation=line.next_generation,
                    name="operator signing key",
                    sealed_seed=self._keystore.seal(pair, pair.public.text),
                    state="prepared",
                    created_at=now,
                )
                session.add(key)
                await self._sign(session, operator, now)
                await note(session, context, "key.prepare", operator.public_key, key)
            key.automatic |= automatic
        return Rotated(key.id, await self._trusting(key.public_key))

    async def activate(self, context: audit.Context) -> Rotated:
        """Let the prepared key sign the accounts, all of which are signed and pushed anew.

        Raises:
            Conflict: No key is prepared, or a server does not trust it yet.
        """
        async with self._database.reading() as session:
            key = (await read_line(session, None)).prepared
        if key is None:
            raise Conflict("no key is prepared; prepare one first")
        found = await self._trusting(key.public_key)
        if found.state != "applied":
            behind = ", ".join(held.name for held in found.servers if not held.applied)
            raise Conflict(
                f"not every nats-server trusts the prepared key: {behind or 'none answers'}; "
                + _RESTART
            )
        return await self._activate(key.id, context)

    async def _activate(self, key_id: str, context: audit.Context) -> Rotated:
        now = int(time.time())
        async with self._database.writing() as session:
            operator = await _locked(session)
            key = await session.get_one(SigningKey, key_id, populate_existing=True)
            if key.state == "prepared":
                key.state, key.activated_at = "active", now
                for account_id in await _accounts(session):
                    await raise_revision(session, account_id)
                await note(session, context, "key.activate", operator.public_key, key)
        return Rotated(key_id, await self._everywhere())

    async def retire(
        self, public_key: str | None, context: audit.Context, *, confirm: bool
    ) -> Rotated:
        """Take a key out of the operator JWT. Servers trust it until they are started anew.

        Args:
            public_key: Which key; the oldest that signs no more if None.
            context: Who does it, for the audit.
            confirm: Whether servers may be left with accounts that it signed.

        Raises:
            NotFound: There is no such key.
            Conflict: There is nothing to retire, it signs, accounts still need it (adopted ones
                among them), or the operator's identity key is not here.
        """
        now = int(time.time())
        found = await self._everywhere()
        async with self._database.writing() as session:
            operator = await _locked(session)
            key = choose_retiring(await read_line(session, None), public_key)
            await _check_adopted(session, key, confirm=confirm)
            needed = found.state != "applied" or await _signs_accounts(session, key.public_key)
            if key.state == "active" and needed and not confirm:
                raise Conflict(
                    "not every nats-server holds the accounts as the newer key signed them; try "
                    "again when they do, or confirm it"
                )
            key.state, key.retired_at, key.sealed_seed = "retired", now, b""
            await self._sign(session, operator, now)
            await note(session, context, "key.retire", operator.public_key, key)
        return Rotated(key.id, found)

    async def tend(self) -> None:
        """Activate a key that waits for that and that every server trusts by now."""
        async with self._database.reading() as session:
            key = (await read_line(session, None)).prepared
        if key is not None and key.automatic:
            found = await self._trusting(key.public_key)
            if found.state == "applied":
                context = audit.Context(audit.Actor("service", "authsvc"), "", "")
                await self._activate(key.id, context)

    async def _sign(self, session: AsyncSession, operator: Operator, now: int) -> None:
        """Make the operator JWT anew, with the keys that are not retired."""
        await session.flush()
        line = await read_line(session, None)
        identity = await find_key(session, "operator-identity")
        try:
            signer = self._keystore.open(identity.sealed_seed, identity.public_key)
        except KeyUnavailable:
            if identity.sealed_seed:
                raise
            raise Conflict(
                "this needs the operator's identity key, which was removed from the service: "
                "authsvc key import FILE brings it back"
            ) from None
        claims = decode_operator(operator.jwt)
        known = {key.public_key for key in line.keys}
        # An adopted operator may have signing keys that are not here.
        others = [key for key in claims.signing_keys if key not in known]
        ours = sorted(key.public_key for key in line.keys if key.state != "retired")
        claims.signing_keys = ours + others
        claims.issued_at = max(now, claims.issued_at + 1)
        ensure_valid(claims, claims.issued_at)
        operator.jwt = encode(claims, signer)
        await session.flush()

    async def _trusting(self, public_key: str) -> Propagation:
        """Which servers were started with an operator JWT that lists the key."""
        found = await self._servers.operators() if self._servers else {}
        holding = [
            Holding(server.id, server.name, _lists(jwt, public_key))
            for server, jwt in sorted(found.items(), key=lambda item: item[0].name)
        ]
        applied = bool(holding) and all(held.applied for held in holding)
        return Propagation("applied" if applied else "pending", holding)

    async def _everywhere(self) -> Propagation:
        """Whether every server holds every account's newest JWT."""
        async with self._database.reading() as session:
            ids = await _accounts(session)
        found = [await self._reconciler.propagate(account_id) for account_id in ids]
        return next((it for it in found if it.state != "applied"), found[-1])


async def _locked(session: AsyncSession) -> Operator:
    return (await session.scalars(select(Operator).with_for_update())).one()


async def _accounts(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(col(Account.id)).order_by(col(Account.id))))


async def _check_adopted(session: AsyncSession, key: SigningKey, *, confirm: bool) -> None:
    """Adopted accounts are signed by their owner, so no newer key of ours takes over.

    Raises:
        Conflict: Some would be refused from then on.
    """
    rows = await session.scalars(select(Account).where(col(Account.kind) == "adopted"))
    names = [row.name for row in rows if decode_account(row.jwt).issuer == key.public_key]
    if names and not confirm:
        raise Conflict(
            f"{len(names)} adopted accounts are signed by this key: {', '.join(names[:_NAMED])}; "
            "sign them by another key of the operator's and push them first (nsc), or confirm that "
            "nats-server refuses them once it is restarted"
        )


async def _signs_accounts(session: AsyncSession, public_key: str) -> bool:
    jwts = await session.scalars(select(col(Account.jwt)))
    return any(decode_account(jwt).issuer == public_key for jwt in jwts)


def _lists(operator_jwt: str, public_key: str) -> bool:
    """Whether a server's operator JWT lists the key; one that does not answer has none."""
    return bool(operator_jwt) and public_key in decode_operator(operator_jwt).signing_keys
