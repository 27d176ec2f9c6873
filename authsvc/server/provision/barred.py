"""Connections that the account JWT has ended, and that are there all the same.

    barred = Barred(read)               # read: the account's JWT from its row
    barred.note(jwt)                    # the newest that is known here
    barred.heard(key, whose)            # a connection began; True if it must not be there
    barred.look(census.present, now)    # all of them
    await barred.confirmed()

nats-server checks a connection as it begins, by the account that it has in memory, and those that
there are, whenever it takes another account JWT. Between the two somebody slips through: one who
comes while nats-server starts and builds the account; one who comes to a server that could not
take the account JWT, because its disk is full or it is cut off from the others. Nothing would end
such a connection before its JWT does.

A revocation never goes back while it can hit, so what is known here is enough to close by. A
signing key may be newer than what is known here: before anybody is closed for it, the row is read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from authsvc.server.provision.census import Key, Presence, Whose
from authsvc.server.provision.standing import Standing, Why

__all__ = ["Barred"]

PATIENCE_SECONDS = 1.0
"""How long nats-servers have to take a new account JWT and end connections themselves."""


class Barred:
    """Those who have to go.

    Args:
        read: Reads the account's JWT from its row; StoreUnavailable where that can't be done.
    """

    def __init__(self, read: Callable[[], Awaitable[str]]) -> None:
        self._read = read
        self._jwt = ""
        self._standing: Standing | None = None
        self._look_at: float | None = None
        self.suspects: dict[Key, Whose] = {}
        """Who may have to go."""

    def note(self, jwt: str) -> bool:
        """Take the account JWT that all nats-servers should hold by now, or soon.

        Returns:
            Whether it is another one: then all connections are to be looked at, in a moment.
        """
        if jwt == self._jwt:
            return False
        # Read when it is first needed: where many are revoked there are many of these.
        self._jwt, self._standing = jwt, None
        if self._look_at is None:
            self._look_at = time.monotonic() + PATIENCE_SECONDS
        return True

    def why(self, whose: Whose) -> Why | None:
        """Why a connection has to go, by what is known here; None if it may stay."""
        if self._standing is None:
            self._standing = Standing(self._jwt)
        return self._standing.ended(whose)

    def heard(self, key: Key, whose: Whose) -> bool:
        """Take note of a connection; whether it may have to go."""
        if self.why(whose) is None:
            return False
        self.suspects[key] = whose
        return True

    def due(self, now: float) -> bool:
        """Whether all connections are to be looked at by now, by the monotonic clock."""
        return self._look_at is not None and self._look_at <= now

    @property
    def waiting(self) -> bool:
        """Whether they are to be looked at soon."""
        return self._look_at is not None

    def look(self, present: Mapping[Key, Presence], now: float) -> None:
        """Look at all who are there.

        Args:
            present: The connections.
            now: By the monotonic clock.
        """
        if self.due(now):
            self._look_at = None
        self.suspects = {
            key: there.whose for key, there in present.items() if self.why(there.whose) is not None
        }

    async def confirmed(self, present: Mapping[Key, Presence]) -> dict[Key, tuple[Whose, Why]]:
        """Who has to go, and why; what is no longer there or no longer barred is forgotten.

        Args:
            present: The connections that there are.

        Raises:
            StoreUnavailable: It can't be said of those whose JWT another key signed.
        """
        self.suspects = {key: it for key, it in self.suspects.items() if key in present}
        if any(self.why(whose) == "signing-key" for whose in self.suspects.values()):
            self.note(await self._read())
        found = {
            key: (whose, why)
            for key, whose in self.suspects.items()
            if (why := self.why(whose)) is not None
        }
        self.suspects = {key: whose for key, (whose, _) in found.items()}
        return found
