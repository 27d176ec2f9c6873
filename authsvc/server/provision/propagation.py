"""How far changes have come among the nats-servers: values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Holding", "Propagation"]


@dataclass(frozen=True, slots=True)
class Holding:
    """Whether one nats-server holds the newest account JWT."""

    id: str
    name: str
    applied: bool


@dataclass(frozen=True, slots=True)
class Propagation:
    """How far a change has come; ``applied`` only when every live server confirmed.

    Args:
        state: Whether all did.
        servers: Each live server, by name.
        hopeful: Whether one that lacks it answers otherwise, so that waiting a little may help.
    """

    state: Literal["applied", "pending"]
    servers: list[Holding] = field(default_factory=list)
    hopeful: bool = False

    def unconfirmed(self) -> Propagation:
        """The same servers, none of which has confirmed."""
        return Propagation(
            "pending", [Holding(it.id, it.name, applied=False) for it in self.servers]
        )
