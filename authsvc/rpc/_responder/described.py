"""What a service is called, and what can be told of it from outside."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from authsvc import subjects
from authsvc.rpc._responder.app import ServiceStats
from authsvc.rpc._responder.routes import Route
from authsvc.rpc._responder.serving import Serving
from authsvc.rpc._responder.statistics import EndpointStats

__all__ = ["Described"]


class Described:
    """A service's names, numbers and handlers.

    ``id`` tells its instances apart; ``started`` is when this one was made, by RFC 3339.

    Args:
        name: The app's name.
        version: Of the app.
        description: Of the app.

    Raises:
        InvalidName: The contract refuses the name.
    """

    def __init__(self, name: str, version: str, description: str) -> None:
        self.name = subjects.app_name(name)
        self.id = secrets.token_hex(11)
        self.version = version
        self.description = description
        self.started = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self.stats = ServiceStats()
        self._routes: dict[str, dict[str, Route]] = {}
        self._serving: Serving | None = None

    @property
    def endpoints(self) -> list[EndpointStats]:
        """What was counted of each handler, in the order they were registered."""
        routes = (route for known in self._routes.values() for route in known.values())
        return list({id(route.stats): route.stats for route in routes}.values())

    @property
    def in_flight(self) -> int:
        """Requests that are handled now or wait for it."""
        return self._serving.in_flight if self._serving is not None else 0

    @property
    def subject(self) -> str:
        """Where its requests come in, while it is served."""
        return self._serving.subject if self._serving is not None else ""

    @property
    def queue(self) -> str:
        """The queue group of its instances."""
        return subjects.token(self.name)
