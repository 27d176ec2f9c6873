"""Who a session works for, and how it tells of its end."""

from __future__ import annotations

from typing import Protocol

from authsvc.errors import RpcError

__all__ = ["Owner", "fresh"]


class Owner(Protocol):
    """The client that a session works for."""

    def session_lost(self, *, refused: bool = False) -> None:
        """The connection broke; what is in flight may be lost.

        Args:
            refused: The credential is refused. Whether there is another is told soon.
        """

    def session_ready(self, *, renewed: bool) -> None:
        """There is a connection again, or a renewed one took over."""

    def session_refused(self, action: str, subject: str) -> None:
        """nats-server refused an action; the subject is in lower case."""

    def session_failed(self, error: RpcError) -> None:
        """There will be no connection any more."""


def fresh(error: RpcError) -> RpcError:
    """A new exception like this one: one instance raised by many calls collects tracebacks."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy
