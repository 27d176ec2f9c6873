"""How long a connection that broke waits before it comes back.

A connection that lasted breaks for reasons that pass: it comes back at once, a little spread. One
that breaks soon after it was made may be unwanted, as where a user has more connections than
``USER_MAX_CONNECTIONS``: nats-server then lets it in and closes it, and does not say why. Each
such time doubles the pause.
"""

from __future__ import annotations

import random

__all__ = ["LASTING_SECONDS", "Pauses"]

LASTING_SECONDS = 10.0
FIRST_SECONDS, LONGEST_SECONDS = 0.5, 30.0


class Pauses:
    """The pauses of one connection."""

    def __init__(self) -> None:
        self._made_at = 0.0
        self.in_a_row = 0
        """How many connections after each other were short."""

    def made(self, now: float) -> None:
        """Note that there is a connection.

        Args:
            now: By the monotonic clock.
        """
        self._made_at = now

    def broke(self, now: float) -> float:
        """Note that it broke.

        Args:
            now: By the monotonic clock.

        Returns:
            Seconds to wait; 0 after one that lasted.
        """
        if now - self._made_at >= LASTING_SECONDS:
            self.in_a_row = 0
            return 0.0
        self.in_a_row += 1
        # A single short one is more likely a server that restarts.
        if self.in_a_row == 1:
            return 0.0
        pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self.in_a_row - 1, 16))
        return pause * random.uniform(0.75, 1.0)  # noqa: S311  spreads load only
