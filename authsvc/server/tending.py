"""What the service does by itself from time to time."""

from __future__ import annotations

import asyncio
import time

import structlog

from authsvc.claims import decode_user
from authsvc.errors import AuthsvcError
from authsvc.server import idempotency, roles
from authsvc.server.attempts import forget_attempts
from authsvc.server.console_sessions import forget_console
from authsvc.server.database import Database
from authsvc.server.devices import forget_requests
from authsvc.server.mailboxes import forget_letters
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.provision.resolver import Resolver
from authsvc.server.rotation import Rotation, read_line
from authsvc.server.sessions import SpentProofs, forget_admissions
from authsvc.server.store import Store, system_user

__all__ = ["prune", "tend"]

_PRUNE_SECONDS = 60.0
_TEND_SECONDS = 1.0
log = structlog.get_logger("authsvc")


async def tend(
    store: Store, rotation: Rotation, reconciler: Reconciler, resolver: Resolver | None
) -> None:
    """Go on with rotations and scoped roles, and follow the system account's key."""
    while True:
        await asyncio.sleep(_TEND_SECONDS)
        try:
            await rotation.tend(int(time.time()))
            await roles.tend(store.database, reconciler, store.material.people_id, time.time())
            if resolver is not None:
                await _renew_system_user(store, resolver)
        except AuthsvcError as error:
            log.warning("keys not tended", error=str(error))
        except Exception as error:
            log.exception("keys not tended", error=type(error).__name__)


async def _renew_system_user(store: Store, resolver: Resolver) -> None:
    async with store.database.reading() as session:
        signer = (await read_line(session, store.material.system_id)).signer
        if signer is None or signer.public_key == decode_user(resolver.jwt).issuer:
            return
        jwt, _ = await system_user(session, store)
    log.info("the system user has a new JWT", signer=signer.public_key)
    await resolver.renew(jwt)


async def prune(database: Database, proofs: SpentProofs, ttl: int) -> None:
    """Forget what is too old: proofs, connections, answers, letters, terminals, sessions, tries.

    Args:
        database: Where they are.
        proofs: The proofs that were used.
        ttl: The life of a user JWT in seconds.
    """
    while True:
        await asyncio.sleep(_PRUNE_SECONDS)
        try:
            async with database.writing() as session:
                await proofs.forget(session, time.time())
                await forget_admissions(session, time.time(), ttl)
                await idempotency.forget(session, time.time())
                await forget_letters(session, time.time())
                await forget_requests(session, time.time())
                await forget_console(session, time.time())
                await forget_attempts(session, time.time())
        except AuthsvcError as error:
            log.warning("not pruned", error=str(error))
