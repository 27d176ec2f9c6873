"""Which nats-servers there are, by when each was last heard.

A server that fell silent may still serve people, behind a broken network: it counts for ten
minutes more, so that what it missed is not called done. One that said goodbye serves nobody, but
may come back with what it had: it counts for a minute. One that starts again has a new id and the
same name, and takes its own place.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from authsvc.server.provision.answers import Server

__all__ = ["LiveServers", "Sighting"]

SILENT_SECONDS = 600.0
FAREWELL_SECONDS = 60.0


@dataclass(slots=True)
class Sighting:
    """A server and when it was heard.

    Args:
        server: Which.
        heard_at: By the monotonic clock.
        silent: Whether it owes an answer, or said goodbye.
        counts_for: Seconds from then on in which it counts as live.
    """

    server: Server
    heard_at: float
    silent: bool = False
    counts_for: float = SILENT_SECONDS


class LiveServers:
    """The servers that count as live."""

    def __init__(self) -> None:
        self._sightings: dict[str, Sighting] = {}

    def note(self, server: Server) -> bool:
        """Note that a server was heard.

        Returns:
            Whether it is new here, or was silent: it may have missed something.
        """
        known = self.sightings().get(server.id)
        if known is None:
            # Names are unique: the same name with a new id is the same server started again.
            for key, other in list(self._sightings.items()):
                if other.server.name == server.name:
                    del self._sightings[key]
        self._sightings[server.id] = Sighting(server, time.monotonic())
        return known is None or known.silent

    def missed(self, server_ids: Collection[str]) -> None:
        """Note that servers did not answer in time."""
        for server_id in server_ids:
            if server_id in self._sightings:
                self._sightings[server_id].silent = True

    def left(self, server_id: str) -> None:
        """Note that a server said goodbye."""
        found = self._sightings.get(server_id)
        if found is not None:
            found.silent, found.counts_for = True, FAREWELL_SECONDS

    def sightings(self) -> dict[str, Sighting]:
        """All that count, by id; the others are forgotten."""
        now = time.monotonic()
        self._sightings = {
            key: seen
            for key, seen in self._sightings.items()
            if now - seen.heard_at < seen.counts_for
        }
        return self._sightings

    def servers(self) -> list[Server]:
        """All that count, by name."""
        return sorted((seen.server for seen in self.sightings().values()), key=lambda it: it.name)

    def awake(self) -> set[str]:
        """The ids of those that owe no answer."""
        return {key for key, seen in self.sightings().items() if not seen.silent}
