"""The JetStream API of an account, asked by one of the service's own users.

    jetstream = JetStream(lambda: connection.client)
    await jetstream.ask("STREAM.INFO.requests_alice")

What nats-server refuses comes as JetStreamRefused, with its code; what it doesn't answer as
Unavailable. Codes: server/errors.json of nats-server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
from nats.aio.client import Client
from nats.errors import Error as NatsError

from authsvc.errors import Unavailable

__all__ = [
    "CONSUMER_NOT_FOUND",
    "CREATE_FAILED",
    "FULL",
    "MESSAGE_NOT_FOUND",
    "NO_ROOM",
    "STREAM_NOT_FOUND",
    "JetStream",
    "JetStreamRefused",
]

STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND = 10059, 10014, 10037
CREATE_FAILED = 10049
FULL = 10077
"""A stream takes no more: of this subject, or at all."""
NO_ROOM = frozenset({10023, 10028, 10047})
"""nats-server has no storage left that it could reserve for another stream."""

_SECONDS = 5.0


class JetStreamRefused(Unavailable):
    """nats-server answered with an error.

    Args:
        call: What was asked.
        error: The answer's ``error``.
    """

    def __init__(self, call: str, error: Mapping[str, Any]) -> None:
        self.code = int(error.get("err_code", 0))
        super().__init__(f"{call}: {error.get('description', 'refused')} ({self.code})")


class JetStream:
    """Asks the API by a connection that comes and goes.

    Args:
        client: The connection there is now, if there is one.
    """

    def __init__(self, client: Callable[[], Client | None]) -> None:
        self._client = client

    @property
    def client(self) -> Client:
        """The connection.

        Raises:
            Unavailable: There is none.
        """
        client = self._client()
        if client is None:
            raise Unavailable("nats-server can't be reached")
        return client

    async def ask(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a call, without its ``type``.

        Args:
            call: Such as ``STREAM.INFO.requests_alice``.
            body: What the call takes, if it takes anything.

        Raises:
            JetStreamRefused: nats-server answered with an error.
            Unavailable: It did not answer.
        """
        data = b"" if body is None else orjson.dumps(body)
        try:
            message = await self.client.request(f"$JS.API.{call}", data, timeout=_SECONDS)
            found: dict[str, Any] = orjson.loads(message.data)
        except (NatsError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
            raise Unavailable(f"{call}: no answer ({type(error).__name__})") from error
        if found.get("error"):
            raise JetStreamRefused(call, found["error"])
        return found

    async def find(self, call: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """``ask`` for something that may not be there: None then.

        Raises:
            JetStreamRefused: As ``ask``, for any other reason.
            Unavailable: As ``ask``.
        """
        try:
            return await self.ask(call, body)
        except JetStreamRefused as error:
            if error.code in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND}:
                return None
            raise

    async def stream_names(self) -> set[str]:
        """The names of all streams of the account.

        Raises:
            Unavailable: As ``ask``.
        """
        names: set[str] = set()
        seen = 0
        while True:
            page = await self.ask("STREAM.NAMES", {"offset": seen})
            found = page.get("streams") or []
            names.update(found)
            seen += len(found)
            if not found or seen >= page["total"]:
                return names

    async def streams(self) -> AsyncIterator[Mapping[str, Any]]:
        """Configuration and state of all streams of the account.

        Raises:
            Unavailable: As ``ask``.
        """
        seen = 0
        while True:
            page = await self.ask("STREAM.LIST", {"offset": seen})
            found = page.get("streams") or []
            for stream in found:
                yield stream
            seen += len(found)
            if not found or seen >= page["total"]:
                return
