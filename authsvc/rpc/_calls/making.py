"""The making of a mailbox for answers, where a client that submits has none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from authsvc.errors import ApiError, Disconnected, PermissionDenied, RpcError, Unavailable
from authsvc.rpc._calls.receipts import Receipts
from authsvc.rpc._session.session import Session

__all__ = ["Making"]

_FORBIDDEN = 403

Exists = Callable[[float], Awaitable[bool]]


class Making:
    """Whether the mailbox is known to be there, and what makes it.

    Args:
        session: Whose mailbox it is.
        receipts: Where answers of JetStream come.
    """

    def __init__(self, session: Session, receipts: Receipts) -> None:
        self._session = session
        self._receipts = receipts
        self._change = asyncio.Lock()
        self._there = False

    async def ensure(self, timeout: float, exists: Exists) -> None:
        """Make the mailbox, where there is none; limits that were set stay as they are.

        Args:
            timeout: Seconds, at most, to look.
            exists: Looks whether it is there.

        Raises:
            Disconnected: authsvc can't be reached for it.
            PermissionDenied: The user may not have one.
            RpcError: There is none, and none could be made.
        """
        if not self._there:
            async with self._change:
                await self._look_or_make(timeout, exists)

    async def _look_or_make(self, timeout: float, exists: Exists) -> None:
        if self._there:
            return
        await self._receipts.listen()
        # A credential of one app neither sees a mailbox nor may make one.
        if self._session.login.app is None and not await exists(timeout):
            await self._make()
        self._there = True

    async def _make(self) -> None:
        api, login = self._session.api, self._session.login
        if api is None:
            raise RpcError(
                "there is no mailbox for answers, and no authsvc to ask for one: make it by "
                "PUT /v1/me/mailbox, or give the client url= and token="
            )
        try:
            answer = await api.set_mailbox(login.jwt)
        except Unavailable as error:
            raise Disconnected(f"no mailbox could be made: {error}") from error
        except ApiError as error:
            kind = PermissionDenied if error.status == _FORBIDDEN else RpcError
            raise kind(f"no mailbox could be made: {error}") from error
        made = answer.get("propagation", {})
        if made.get("state") == "pending":
            raise RpcError(f"the mailbox is not there yet: {made.get('detail')}; try again")
