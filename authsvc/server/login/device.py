"""Login of terminals: by the token that one gets when somebody let it in (RFC 8628).

Asking and deciding are in ``authsvc.server.devices``. The token is bound to the terminal's nkey and
works once; that is seen to when the credential is issued, by its ticket.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import select
from sqlmodel import col

from authsvc.errors import InvalidToken
from authsvc.server.database import Database
from authsvc.server.login.identity import Identity, Ticket, proved
from authsvc.server.models import DeviceRequest

__all__ = ["DEVICE_PREFIX", "DeviceLogin", "device_digest"]

DEVICE_PREFIX = "authsvc_device_"
"""What a token begins with; a client that presents one need not name the method."""
_MAX_CHARS = 128


def device_digest(text: str) -> str:
    """What is kept of a code or token."""
    return hashlib.sha256(text.encode()).hexdigest()


class DeviceLogin:
    """Believes terminals that somebody let in.

    Args:
        database: Where their requests are.
        url: The service's own, below which the routes are.
    """

    name = "device"

    def __init__(self, database: Database, url: str) -> None:
        self._database = database
        self._url = url

    async def verify(self, token: str, now: float, *, claimed: str | None = None) -> Identity:
        """As whom the terminal was let in.

        Raises:
            InvalidToken: The token is none, has expired or was used.
            InvalidName: The contract refuses the name.
            StoreUnavailable: The database can't be read.
        """
        if len(token) > _MAX_CHARS or not token.startswith(DEVICE_PREFIX):
            raise InvalidToken("device token: it is none")
        async with self._database.reading() as session:
            found = await session.scalar(
                select(DeviceRequest).where(col(DeviceRequest.token_digest) == device_digest(token))
            )
        if found is None or found.username is None or found.state != "approved":
            raise InvalidToken("device token: not known, or used")
        if now >= found.expires_at:
            raise InvalidToken("device token: expired")
        return proved(
            found.username,
            email="@" in found.username,
            method=self.name,
            expires_at=found.expires_at,
            claimed=claimed,
            ticket=Ticket("device", found.id),
        )

    def describe(self) -> dict[str, str]:
        """The name, and where a terminal asks, polls, and sends the person to."""
        return {
            "name": self.name,
            "device_authorization_endpoint": f"{self._url}/v1/device/authorize",
            "token_endpoint": f"{self._url}/v1/device/token",
            "verification_uri": f"{self._url}/device",
        }

    async def close(self) -> None:
        """Nothing is held."""
