"""An app's registration at authsvc as one that keeps requests while it is away."""

from __future__ import annotations

import asyncio
import logging

from authsvc.errors import ApiError, PermissionDenied, RpcError, Unavailable
from authsvc.rpc._session.session import Session

__all__ = ["Registration"]

_log = logging.getLogger(__name__)
_FORBIDDEN = 403


class Registration:
    """What makes an app's stream and consumer, and makes them again.

    ``again`` is the task that does, while it runs.

    Args:
        session: Whose user the app is.
        app: The app's canonical name.
    """

    def __init__(self, session: Session, app: str) -> None:
        self.again: asyncio.Task[None] | None = None
        self._session = session
        self._app = app
        self._warned = False

    async def register(self) -> int | None:
        """Let authsvc make stream and consumer, where it can be reached.

        The answer is how many requests were handed out and not acknowledged, where it says so.

        Raises:
            RpcError: authsvc refuses to.
        """
        api = self._session.api
        if api is None:
            return None
        try:
            answer = await api.set_app(self._session.login.jwt, self._app)
            found = answer.get("unacknowledged")
            return found if type(found) is int and found >= 0 else None
        except Unavailable as error:
            _log.warning("the app could not be registered as offline: %s", error)
            return None
        except ApiError as error:
            kind = PermissionDenied if error.status == _FORBIDDEN else RpcError
            raise kind(f"the app could not be registered as offline: {error}") from error

    def holds(self, seconds: float) -> None:
        """Say why nothing is handled for now, where order is asked for.

        Args:
            seconds: For how long, at most.
        """
        if self._session.api is None:
            _log.warning(
                "%r keeps the order: what it took before it ended may come again, and without url= "
                "there is no authsvc to ask whether anything does; it waits for %.0f s",
                self._app,
                seconds,
            )
        else:
            _log.info(
                "%r keeps the order: it waits until what others took came again, %.0f s at most",
                self._app,
                seconds,
            )

    def missing(self, *, stopping: bool) -> None:
        """There is no consumer: not registered, or removed, or nats-server is starting."""
        if self._session.api is None:
            if not self._warned:
                _log.warning(
                    "no requests are kept for %r: register it by PUT /v1/me/apps/...",
                    self._app,
                )
            self._warned = True
        elif self.again is None and not stopping:
            self.again = asyncio.create_task(self._register_again())

    async def _register_again(self) -> None:
        try:
            await self.register()
        except RpcError as error:
            _log.warning("%s", error)
        await asyncio.sleep(1)
        self.again = None
