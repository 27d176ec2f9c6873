"""A login that is kept as a source of credentials for the RPC library."""

from __future__ import annotations

import time
from collections.abc import Sequence

from authsvc.cli.login_session import LoginSession
from authsvc.client import Api
from authsvc.errors import InvalidInput, NotAuthenticated
from authsvc.rpc import Login

__all__ = ["LoginSource"]

_MAX_AGE_SECONDS = 5.0


class LoginSource:
    """What ``AsyncClient(source=...)`` takes; several processes may share the login.

    Args:
        name: The context.
        servers: NATS URLs to use instead of those that the service names.

    Raises:
        NotAuthenticated: Nobody is logged in there.
    """

    def __init__(self, name: str, servers: Sequence[str] = ()) -> None:
        self._session = LoginSession(name)
        self._servers = tuple(servers)

    @property
    def api(self) -> Api:
        """The HTTP API that the credentials come from."""
        return self._session.api

    async def obtain(self, current: Login | None) -> Login:
        """The login's credential; another one than the current one where that is given.

        Raises:
            NotAuthenticated: The login ended, or was revoked.
            PermissionDenied: The user is disabled.
            Unavailable: authsvc or the SyftBox server can't be reached.
        """
        after = current.jwt if current else None
        profile = await self._session.fresh(after=after, max_age=_MAX_AGE_SECONDS)
        renew_at = time.monotonic() + profile.renew_after - time.time()
        servers = self._servers or profile.servers
        try:
            return Login.from_jwt(profile.jwt, self._session.key, servers, renew_at=renew_at)
        except InvalidInput as error:
            raise NotAuthenticated(f"the login that is kept does not hold: {error}") from error

    async def close(self) -> None:
        """Close the HTTP connections."""
        await self._session.close()
