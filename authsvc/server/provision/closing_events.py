"""What the audit says of connections that the service closed: one event in ten minutes each.

A client that is cut off comes back over and over: the metric counts how often, the audit says who.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import col

from authsvc.errors import InvalidInput
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.models import AuditEvent, Credential, User
from authsvc.server.provision.standing import Why
from authsvc.subjects import untoken

__all__ = ["LIMIT", "REVOKED", "ClosingEvents"]

LIMIT = "connection.limit"
REVOKED = "connection.revoked"
QUIET_SECONDS = 600
_SERVICE = audit.Context(audit.Actor("service", "connections"), "", "")


class ClosingEvents:
    """Writes them.

    Args:
        database: Has the audit.
        limit: How many connections a user may have.
    """

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._quiet_until: dict[str, float] = {}

    async def limit(self, user: str, number: int, closed: int) -> None:
        """Tell of a user who had too many, unless that was done just now, here or at a replica.

        Args:
            user: The name as it stands in subjects.
            number: How many connections there were.
            closed: How many of them were closed.

        Raises:
            StoreUnavailable: It is told the next time.
        """
        try:
            username = untoken(user)
        except InvalidInput:
            return
        target = select(col(User.id)).where(col(User.username) == username)
        details = {"limit": self._limit, "connections": number, "closed": closed}
        await self._tell(LIMIT, "user", target, user, details)

    async def revoked(self, credential: str, why: Why, server: str, closed: int) -> None:
        """Tell of a credential that had ended and was connected all the same, likewise.

        Args:
            credential: Its id.
            why: Why it had ended.
            server: The name of a nats-server that had let it in.
            closed: How many of its connections were closed.

        Raises:
            StoreUnavailable: It is told the next time.
        """
        target = select(col(Credential.id)).where(col(Credential.id) == credential)
        details = {"reason": why, "server": server, "closed": closed}
        # Of a deleted user there is no row any more, and this must be told all the same.
        await self._tell(REVOKED, "credential", target, credential, details, gone=credential)

    async def _tell(
        self,
        action: str,
        kind: str,
        target: Select[Any],
        key: str,
        details: dict[str, Any],
        *,
        gone: str | None = None,
    ) -> None:
        now, key = time.time(), f"{action} {key}"
        self._quiet_until = {name: at for name, at in self._quiet_until.items() if at > now}
        if key in self._quiet_until:
            return
        since = int((now - QUIET_SECONDS) * 1000)
        async with self._database.writing() as session:
            # The lock lets replicas that see the same write one after the other.
            found = await session.scalar(target.with_for_update()) or gone
            told = found and await session.scalar(
                select(col(AuditEvent.id))
                .where(col(AuditEvent.target_id) == found)
                .where(col(AuditEvent.action) == action)
                .where(col(AuditEvent.at) > since)
                .limit(1)
            )
            if found and not told:
                row = audit.event(_SERVICE, action, kind, found, details, int(now * 1000))
                await audit.append(session, [row])
        self._quiet_until[key] = now + QUIET_SECONDS
