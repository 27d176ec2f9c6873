"""What the audit says of users with too many connections: one event in ten minutes each.

A client that is cut off comes back over and over: the metric counts how often, the audit says who.
"""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlmodel import col

from authsvc.errors import InvalidInput
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.models import AuditEvent, User
from authsvc.subjects import untoken

__all__ = ["ACTION", "LimitEvents"]

ACTION = "connection.limit"
QUIET_SECONDS = 600
_SERVICE = audit.Context(audit.Actor("service", "connections"), "", "")


class LimitEvents:
    """Writes them.

    Args:
        database: Has the audit.
        limit: How many connections a user may have.
    """

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._quiet_until: dict[str, float] = {}

    async def add(self, user: str, number: int, closed: int) -> None:
        """Tell of a user, unless that was done just now, here or at another replica.

        Args:
            user: The name as it stands in subjects.
            number: How many connections there were.
            closed: How many of them were closed.

        Raises:
            StoreUnavailable: It is told the next time.
        """
        now = time.time()
        self._quiet_until = {key: at for key, at in self._quiet_until.items() if at > now}
        if user in self._quiet_until:
            return
        try:
            username = untoken(user)
        except InvalidInput:
            return
        since = int((now - QUIET_SECONDS) * 1000)
        async with self._database.writing() as session:
            # The lock lets replicas that see the same write one after the other.
            found = await session.scalar(
                select(col(User.id)).where(col(User.username) == username).with_for_update()
            )
            told = found and await session.scalar(
                select(col(AuditEvent.id))
                .where(col(AuditEvent.target_id) == found)
                .where(col(AuditEvent.action) == ACTION)
                .where(col(AuditEvent.at) > since)
                .limit(1)
            )
            if found and not told:
                details = {"limit": self._limit, "connections": number, "closed": closed}
                row = audit.event(_SERVICE, ACTION, "user", found, details, int(now * 1000))
                await audit.append(session, [row])
        self._quiet_until[user] = now + QUIET_SECONDS
