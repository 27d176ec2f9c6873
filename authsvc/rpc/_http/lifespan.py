"""An ASGI application's lifespan: its start and its end, in a task of its own.

Source: the ASGI specification, lifespan protocol, version 2.0.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any, Self

from authsvc.rpc._http.asgi_scope import AsgiApp, Message

__all__ = ["Lifespan", "StartFailed"]

_log = logging.getLogger(__name__)
_END_SECONDS = 5.0


class StartFailed(RuntimeError):
    """The application said that it can't start."""


class Lifespan:
    """Starts an application, and ends it on exit; nothing for one that knows no lifespan.

    Args:
        app: The application.
    """

    def __init__(self, app: AsgiApp) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="authsvc lifespan")
        try:
            answer = await self._tell("lifespan.startup")
        except BaseException:
            self._task.cancel()
            raise
        if answer is not None and answer["type"] == "lifespan.startup.failed":
            await self._end(self._task)
            raise StartFailed("the application said that it can't start; its log says why")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is None or self._task.done():
            return
        answer = await self._tell("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            _log.error("the application failed to shut down")
        await self._end(self._task)

    @staticmethod
    async def _end(task: asyncio.Task[None]) -> None:
        await asyncio.wait({task}, timeout=_END_SECONDS)
        task.cancel()
        await asyncio.wait({task})

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._events.get, self._answers.put)
        except Exception as error:  # noqa: BLE001  what knows no lifespan raises
            _log.debug("the application's lifespan ended with %s", type(error).__name__)

    async def _tell(self, event: str) -> Message | None:
        """What the application answers to an event; None if it ends without an answer."""
        assert self._task is not None  # noqa: S101  it was started
        await self._events.put({"type": event})
        answer = asyncio.create_task(self._answers.get())
        try:
            await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and not self._answers.empty():
                return self._answers.get_nowait()
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()
