"""Future: the answer to a stored request, whenever it comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from typing import TYPE_CHECKING, NamedTuple, Self

from authsvc import subjects
from authsvc.errors import (
    DeadlineExceeded,
    Expired,
    InvalidInput,
    PermissionDenied,
    RpcError,
)
from authsvc.rpc._messages.message import Response

if TYPE_CHECKING:
    from authsvc.rpc._calls.mailbox import Mailbox

__all__ = ["Future", "Pending", "Ticket"]

_ID = re.compile(r"([^.\s]{1,200})\.([^.\s]{1,200})\.([0-9a-f]{32})\.([1-9][0-9]{0,14})")
_EXPIRED = 419
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 5.0, 60.0
_SHORTEST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 1.0, 5.0


class Ticket(NamedTuple):
    """What a stored request is found again by.

    Args:
        name: Who is to answer.
        app: Which app of theirs.
        request_id: 32 hex digits.
        deadline: When the request is not handled any more, in ms since the epoch.
    """

    name: str
    app: str
    request_id: str
    deadline: int

    @property
    def id(self) -> str:
        """All of it as one text; ``parse`` reads it."""
        names = f"{subjects.token(self.name)}.{subjects.token(self.app)}"
        return f"{names}.{self.request_id}.{self.deadline}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a Future's id.

        Raises:
            InvalidInput: It is none.
        """
        match = _ID.fullmatch(text) if isinstance(text, str) else None
        if match is not None:
            name = subjects.username(subjects.untoken(match[1]))
            app = subjects.app_name(subjects.untoken(match[2]))
            found = cls(name, app, match[3], int(match[4]))
            if found.id == text:
                return found
        raise InvalidInput("this is no id of a Future: keep what `future.id` said, all of it")


class Future:
    """The answer to a request that was stored; made by ``submit`` and ``client.future``.

    ``id`` is enough to find it again: ``client.future(id)``, in another process too, for as long
    as the mailbox keeps answers. A client hears answers by itself while somebody holds the
    Future; nothing is kept for one that is dropped.
    """

    __slots__ = ("_pending",)

    def __init__(self, pending: Pending) -> None:
        self._pending = pending

    @property
    def id(self) -> str:
        """What ``client.future`` finds it again by."""
        return self._pending.ticket.id

    @property
    def deadline(self) -> int:
        """When the request is not handled any more, in ms since the epoch by this clock."""
        return self._pending.ticket.deadline

    def __repr__(self) -> str:
        return f"<Future {self.id}>"

    async def done(self) -> bool:
        """Whether ``result`` would return or raise at once.

        Raises:
            RpcError: The mailbox can't be read.
        """
        return await self._pending.done()

    async def result(self, timeout: float | None = None) -> Response:
        """Wait for the answer, whatever its status.

        Args:
            timeout: Seconds; until the request expires if None.

        Raises:
            DeadlineExceeded: No answer in so many seconds; one may still come.
            Expired: The request's time was over before it was answered.
            NotAuthenticated: The credential ended and there is no other.
            PermissionDenied: The user was disabled, or may not read answers by this credential.
            Disconnected: The client was closed.
            RpcError: The Future was cancelled.
        """
        return await self._pending.result(timeout)

    async def cancel(self) -> bool:
        """Give the answer up: ``result`` raises from now on. Best effort.

        What was stored can't be taken back by its sender: it may still be handled.

        Returns:
            False if there is an answer already.
        """
        return self._pending.cancel()


class Pending:
    """What a Future stands for: a request whose answer is waited for, or is here.

    Args:
        mailbox: Where the answer is heard and read.
        ticket: What it is found by.
        epoch: Of the connection on which an answer would have been heard; -1 for none.
    """

    __slots__ = (
        "__weakref__",
        "_cancelled",
        "_epoch",
        "_mailbox",
        "_response",
        "_waiters",
        "ticket",
    )

    def __init__(self, mailbox: Mailbox, ticket: Ticket, epoch: int) -> None:
        self._mailbox = mailbox
        self.ticket = ticket
        self._epoch = epoch
        self._response: Response | None = None
        self._waiters: list[asyncio.Future[bool]] | None = None
        self._cancelled = False

    async def done(self) -> bool:
        """See Future."""
        if self._response is not None or self._cancelled:
            return True
        if not self._hears() or self._left() <= 0:
            await self._look(_LONGEST_LOOK_SECONDS)
        return self._response is not None or self._left() <= 0

    async def result(self, timeout: float | None) -> Response:
        """See Future."""
        end = None if timeout is None else time.monotonic() + timeout
        pause = _FIRST_LOOK_SECONDS
        if self._response is None and not self._hears():
            await self._look(_remaining(end))
        while self._response is None and not self._cancelled:
            left = self._left()
            if left <= 0:
                await self._look(_LONGEST_LOOK_SECONDS)
                break
            remaining = _remaining(end)
            if remaining <= 0:
                raise DeadlineExceeded("no answer to the stored request yet; one may still come")
            heard = await self._mailbox.wait(self, min(left, remaining, pause))
            if self._response is None and (heard or pause < min(left, remaining)):
                # Another connection, or a long silence: it may have come unheard.
                await self._look(_remaining(end))
                pause = min(2 * pause, _LAST_LOOK_SECONDS)
        return self._outcome()

    def cancel(self) -> bool:
        """Want no answer any more; False if there is one."""
        if self._response is not None:
            return False
        self._cancelled = True
        self._mailbox.drop(self)
        self.wake()
        return True

    def _outcome(self) -> Response:
        if self._response is None:
            if self._cancelled:
                raise RpcError("the Future was cancelled")
            raise Expired("the request expired before it was answered")
        if self._response.status == _EXPIRED:
            raise Expired("the request expired before it was handled")
        return self._response

    def _left(self) -> float:
        return self.ticket.deadline / 1000 - time.time()

    def _hears(self) -> bool:
        return self._epoch == self._mailbox.epoch

    async def _look(self, seconds: float) -> None:
        """Read the mailbox, whatever the connection does meanwhile."""
        epoch = self._mailbox.epoch
        if self._mailbox.narrowed:
            if self._epoch < 0:
                raise PermissionDenied(
                    "a credential that is narrowed to one app can't read stored answers; use one "
                    "that is not"
                )
            self._epoch = epoch
            return
        seconds = min(max(seconds, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS)
        with contextlib.suppress(DeadlineExceeded):
            response = await self._mailbox.read(self.ticket, seconds)
            self._epoch = epoch
            if response is not None:
                self.answered(response)

    # What the mailbox tells.

    def answered(self, response: Response) -> bool:
        """The answer is here; False if there is one already or nobody wants it."""
        if self._response is not None or self._cancelled:
            return False
        self._response = response
        self.wake()
        return True

    def wake(self, error: RpcError | None = None) -> None:
        """Let those who wait look again, or fail."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(True)
            else:
                waiter.set_exception(error)

    def waiter(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[bool]:
        """Resolved by ``wake``."""
        found: asyncio.Future[bool] = loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(found)
        return found

    def forget(self, waiter: asyncio.Future[bool]) -> bool:
        """It waits no more; whether others do."""
        if self._waiters is not None and waiter in self._waiters:
            self._waiters.remove(waiter)
        return bool(self._waiters)


def _remaining(end: float | None) -> float:
    return float("inf") if end is None else end - time.monotonic()
