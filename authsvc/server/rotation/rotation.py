"""Rotating an account's signing key, from the first step to the last, on every replica.

    rotation = Rotation(database, keystore, reconciler, life=3600, grace=300)
    done = await rotation.rotate("people", context)     # prepared, confirmed, active
    await rotation.tend(now)                            # what is due, every second or so

Calls that overlap in time find one another's key: each generation has exactly one.
"""

from __future__ import annotations

import time

import structlog
from sqlalchemy import select
from sqlmodel import col

from authsvc.errors import Conflict
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.keystore import Keystore
from authsvc.server.models import SigningKey
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.rotation import steps
from authsvc.server.rotation.lines import Line, find_account, needed, read_line
from authsvc.server.rotation.operator import OperatorRotation, Operators
from authsvc.server.rotation.steps import Rotated

__all__ = ["Rotation"]

_ITSELF = audit.Context(audit.Actor("service", "authsvc"), "", "")
log = structlog.get_logger("authsvc.rotation")


class Rotation:
    """Rotates the signing keys of accounts.

    Args:
        database: Where they are.
        keystore: Seals what is made.
        reconciler: Tells every nats-server.
        life: The longest life of a credential, in seconds.
        grace: For how long after its end a JWT can be renewed, in seconds.
        servers: Say by which operator JWT they run; None where there is no way to them.
    """

    def __init__(
        self,
        database: Database,
        keystore: Keystore,
        reconciler: Reconciler,
        *,
        life: int,
        grace: int,
        servers: Operators | None = None,
    ) -> None:
        self._database = database
        self._keystore = keystore
        self._reconciler = reconciler
        self.life = life
        self.grace = grace
        self.operator = OperatorRotation(database, keystore, reconciler, servers)

    async def rotate(self, reference: str, context: audit.Context) -> Rotated:
        """Prepare a key and let it sign; the former one retires by itself when nobody needs it.

        Where a server can't be reached the key stays prepared, and becomes active by itself once
        all have it.

        Args:
            reference: The account: its kind, id or public key.
            context: Who does it, for the audit.

        Raises:
            NotFound: There is no such account.
        """
        async with self._database.reading() as session:
            account = await find_account(session, reference)
            signer = (await read_line(session, account.id)).signer
        since = signer.generation if signer else 0
        done = await self._prepare(account.id, context, automatic=True, since=since)
        if done.propagation.state == "applied":
            await self._activate(account.id, done.key_id, context)
        return done

    async def prepare(self, reference: str, context: audit.Context) -> Rotated:
        """Make the next key and let every server know it.

        Raises:
            NotFound: There is no such account.
        """
        return await self._prepare(reference, context, automatic=False, since=None)

    async def activate(self, reference: str, context: audit.Context) -> Rotated:
        """Let the prepared key sign.

        Raises:
            NotFound: There is no such account.
            Conflict: No key is prepared, or a server does not know it yet.
        """
        async with self._database.reading() as session:
            account = await find_account(session, reference)
            key = (await read_line(session, account.id)).prepared
        if key is None:
            raise Conflict("no key is prepared; prepare one first")
        found = await self._reconciler.propagate(account.id)
        if found.state != "applied":
            behind = ", ".join(held.name for held in found.servers if not held.applied)
            raise Conflict(
                f"not every nats-server knows the prepared key yet: {behind or 'none answers'}; "
                "try again when it does"
            )
        await self._activate(account.id, key.id, context)
        return Rotated(key.id, found)

    async def retire(
        self, reference: str, public_key: str | None, context: audit.Context, *, confirm: bool
    ) -> Rotated:
        """Trust a key no more.

        Args:
            reference: The account: its kind, id or public key.
            public_key: Which key; the oldest that signs no more if None.
            context: Who does it, for the audit.
            confirm: Whether those who still need it may be cut off.

        Raises:
            NotFound: There is no such account or key.
            Conflict: There is nothing to retire, or the key signs.
            WouldCutOff: The overlap is not over, and it was not confirmed.
        """
        now = int(time.time())
        async with self._database.writing() as session:
            account = await find_account(session, reference, lock=True)
            line = await read_line(session, account.id)
            key = steps.choose_retiring(line, public_key)
            found = await needed(session, line, key, life=self.life, grace=self.grace, now=now)
            await steps.retire(
                session, account, key, found, context=context, now=now, confirm=confirm
            )
        return Rotated(key.id, await self._reconciler.propagate(account.id))

    async def tend(self, now: int) -> None:
        """Do what is due: activate what every server knows by now, retire what nobody needs.

        Args:
            now: Seconds since the epoch.
        """
        async with self._database.reading() as session:
            rows = await session.scalars(
                select(col(SigningKey.account_id))
                .where(col(SigningKey.owner) == "account")
                .where(col(SigningKey.purpose) == "signing")
                .where(col(SigningKey.automatic))
                .where(col(SigningKey.state) != "retired")
                .distinct()
            )
            lines = {row: await read_line(session, row) for row in rows if row is not None}
        for account_id, line in lines.items():
            waiting = line.prepared
            if waiting is not None and waiting.automatic:
                found = await self._reconciler.propagate(account_id)
                if found.state == "applied":
                    await self._activate(account_id, waiting.id, _ITSELF)
            if any(self._due(line, key, now) for key in line.superseded):
                await self._retire_due(account_id, now)
        await self.operator.tend()

    def _due(self, line: Line, key: SigningKey, now: int) -> bool:
        successor = line.successor(key)
        return (
            successor is not None
            and successor.automatic
            and now >= (successor.activated_at or now) + self.life + self.grace
        )

    async def _retire_due(self, account_id: str, now: int) -> None:
        async with self._database.writing() as session:
            account = await find_account(session, account_id, lock=True)
            line = await read_line(session, account_id)
            for key in line.superseded:
                if not self._due(line, key, now):
                    continue
                found = await needed(session, line, key, life=self.life, grace=self.grace, now=now)
                if now >= found.until:
                    await steps.retire(
                        session, account, key, found, context=_ITSELF, now=now, confirm=False
                    )
                    log.info("key retired", account=account.name, key=key.public_key)
        self._reconciler.nudge()

    async def _prepare(
        self, reference: str, context: audit.Context, *, automatic: bool, since: int | None
    ) -> Rotated:
        now = int(time.time())
        async with self._database.writing() as session:
            account = await find_account(session, reference, lock=True)
            key = await steps.prepare(
                session,
                self._keystore,
                account,
                context=context,
                now=now,
                automatic=automatic,
                since=since,
            )
        return Rotated(key.id, await self._reconciler.propagate(account.id))

    async def _activate(self, account_id: str, key_id: str, context: audit.Context) -> None:
        now = int(time.time())
        async with self._database.writing() as session:
            account = await find_account(session, account_id, lock=True)
            await steps.activate(session, account, key_id, context=context, now=now)
