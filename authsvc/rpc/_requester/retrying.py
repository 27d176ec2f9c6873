"""Retry: a client's middleware that sends again what may be sent again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection

from authsvc.errors import Disconnected, NoResponder
from authsvc.rpc._messages.logs import log
from authsvc.rpc._messages.message import Response
from authsvc.rpc._messages.middleware import Outgoing, ProceedCall

__all__ = ["Retry"]

_UNAVAILABLE = 503


class Retry:
    """Sends a call again that failed, with growing pauses and within its timeout.

    Only calls that are marked ``idempotent=True``, and GET, HEAD, OPTIONS and TRACE by httpx or
    ``stream``: the others may have been handled. What is made piece by piece is sent once.
    ``AsyncClient(middleware=[Retry()])``.

    Args:
        attempts: How often it is sent in all.
        first: Seconds of the first pause; each next one is twice as long. Half of it at least
            is waited for, the rest is chance, so that many clients don't come back together.
        most: Seconds of the longest pause.
        no_responder: Whether to try again where nobody listens for the app: it may be starting.
        statuses: Answers that are asked for again. A ``retry-after`` in seconds is heeded.

    Raises:
        ValueError: A number is out of its bounds.
    """

    def __init__(
        self,
        attempts: int = 3,
        *,
        first: float = 0.05,
        most: float = 2.0,
        no_responder: bool = False,
        statuses: Collection[int] = (_UNAVAILABLE,),
    ) -> None:
        if attempts < 1 or not 0 <= first <= most:
            raise ValueError("attempts is at least 1, and 0 <= first <= most")
        self._attempts = attempts
        self._first = first
        self._most = most
        self._errors = (Disconnected, NoResponder) if no_responder else (Disconnected,)
        self._statuses = frozenset(statuses)

    async def __call__(self, call: Outgoing, proceed: ProceedCall) -> Response:
        """Send it, and again where it may be."""
        if not call.idempotent or call.body is not None:
            return await proceed(call)
        end = time.monotonic() + call.timeout
        attempt = 1
        while True:
            least = 0.0
            try:
                response = await proceed(call)
            except self._errors as error:
                if not self._goes_on(attempt, end, pause := self._pause(attempt)):
                    raise
                why = type(error).__name__
            else:
                if response.status not in self._statuses:
                    return response
                least = _asked_for(response)
                pause = max(self._pause(attempt), least)
                if not self._goes_on(attempt, end, pause):
                    return response
                why = str(response.status)
            log.info("a call is sent again: %s", why, extra=_fields(call, attempt, why))
            await asyncio.sleep(pause)
            attempt += 1
            call = call.changed(timeout=max(0.001, end - time.monotonic()))

    def _pause(self, attempt: int) -> float:
        whole = min(self._most, self._first * 2.0 ** min(attempt - 1, 64))
        return whole * random.uniform(0.5, 1.0)  # noqa: S311  spreads load only

    def _goes_on(self, attempt: int, end: float, pause: float) -> bool:
        return attempt < self._attempts and time.monotonic() + pause < end


def _asked_for(response: Response) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0.0  # noqa: PLR2004  31 years


def _fields(call: Outgoing, attempt: int, why: str) -> dict[str, object]:
    return {
        "responder": call.name,
        "app": call.app,
        "method": call.method,
        "path": call.path,
        "attempt": attempt,
        "reason": why,
    }
