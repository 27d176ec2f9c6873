"""What a server said about a token: asked once for all who present it now, remembered a minute.

Refusals are never remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from authsvc.errors import InvalidToken, LoginUnavailable

__all__ = ["Asked"]

_CACHE_SECONDS = 60
_CACHE_ENTRIES = 10_000


class Asked:
    """The answers about tokens that a server accepted."""

    def __init__(self) -> None:
        # By digest, so that no token lies about in memory; in the order of asking.
        self._accepted: dict[bytes, tuple[float, str]] = {}
        self._asking: dict[bytes, asyncio.Task[str]] = {}

    async def about(
        self, token: str, expires_at: float, now: float, ask: Callable[[], Awaitable[str]]
    ) -> str:
        """What the server says about a token.

        Args:
            token: As presented.
            expires_at: Until when the answer may count, in seconds since the epoch.
            now: Seconds since the epoch.
            ask: Asks the server.

        Raises:
            InvalidToken: The server refuses it.
            LoginUnavailable: It doesn't say.
        """
        digest = hashlib.sha256(token.encode()).digest()
        until, said = self._accepted.get(digest, (0.0, ""))
        if until <= now:
            said = await self._shared(digest, ask)
            self._remember(digest, min(now + _CACHE_SECONDS, expires_at), said)
        return said

    def stop(self) -> None:
        """Give up what is being asked."""
        for task in list(self._asking.values()):
            task.cancel()

    async def _shared(self, digest: bytes, ask: Callable[[], Awaitable[str]]) -> str:
        task = self._asking.get(digest)
        if task is None:
            task = asyncio.create_task(_run(ask))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._done(digest, done))
        # Shielded: who gives up must not take the answer away from the others.
        try:
            return await asyncio.shield(task)
        except (InvalidToken, LoginUnavailable) as error:
            raise type(error)(str(getattr(error, "reason", error))) from None
        except asyncio.CancelledError:
            if task.cancelled():
                raise LoginUnavailable("the service is stopping") from None
            raise

    def _done(self, digest: bytes, task: asyncio.Task[str]) -> None:
        del self._asking[digest]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who asked has gone

    def _remember(self, digest: bytes, until: float, said: str) -> None:
        self._accepted.pop(digest, None)
        if len(self._accepted) >= _CACHE_ENTRIES:
            del self._accepted[next(iter(self._accepted))]
        self._accepted[digest] = (until, said)


async def _run(ask: Callable[[], Awaitable[str]]) -> str:
    return await ask()
