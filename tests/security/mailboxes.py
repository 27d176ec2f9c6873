"""Streams as the service makes them, as the provisioner user, and a look at all that is in them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import orjson
from nats.errors import TimeoutError as NatsTimeout

from authsvc import subjects
from authsvc.server.policy import stream_names
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.mail_streams import Bounds, Desired
from authsvc.server.provision.mailbox import Mailboxes as Maker

if TYPE_CHECKING:
    from nats.aio.client import Client

ACK_SECONDS = 300  # nothing is handed out again during a test
_STREAM_FACTS = ("messages", "first_seq", "last_seq", "num_deleted", "subjects")
_CONSUMER_FACTS = (
    "delivered", "ack_floor", "num_ack_pending", "num_redelivered", "num_waiting", "num_pending",
)  # fmt: skip


class Mailboxes:
    """The two streams of users.

    Args:
        client: Connected as the provisioner.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def api(self, call: str, body: object = None) -> dict[str, object]:
        """Ask the JetStream API; an error is an assertion."""
        data = b"" if body is None else orjson.dumps(body)
        answer = await self._client.request(f"$JS.API.{call}", data, timeout=5)
        found: dict[str, object] = orjson.loads(answer.data)
        assert "error" not in found, (call, found["error"])
        return found

    async def ready(self) -> None:
        """Wait until the servers of a cluster have elected who leads."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(NatsTimeout, AssertionError):
                    answer = await self._client.request("$JS.API.INFO", b"", timeout=0.5)
                    assert b'"error"' not in answer.data
                    return
                await asyncio.sleep(0.1)

    async def there(self, name: str) -> list[str]:
        """The names of the user's streams that exist, and of their consumers."""
        names: list[str] = []
        answer = await self._client.request("$JS.API.STREAM.NAMES", b"", timeout=5)
        for stream in orjson.loads(answer.data)["streams"] or []:
            if stream in stream_names(subjects.token(name)):
                consumers = (await self.api(f"CONSUMER.NAMES.{stream}"))["consumers"]
                assert isinstance(consumers, list)
                names += [stream, *(f"{stream} {consumer}" for consumer in consumers)]
        return names

    async def make(self, name: str, *apps: str, replicas: int = 1) -> None:
        """Both streams of a user, with a consumer for each offline app (``chat`` if none)."""
        desired = Desired(
            owner=f"usr_{name}",
            token=subjects.token(name),
            apps=tuple(sorted(subjects.token(app) for app in apps or ["chat"])),
            responses=True,
            max_age=3600,
        )
        bounds = Bounds(replicas=replicas, max_bytes=1 << 20, backoff=(ACK_SECONDS,))
        jetstream = JetStream(lambda: self._client)
        await Maker(jetstream, jetstream, bounds).apply(desired)

    async def remove(self, name: str) -> None:
        """Both streams."""
        for stream in await self.there(name):
            if " " not in stream:
                await self.api(f"STREAM.DELETE.{stream}")

    async def contents(self, name: str) -> dict[str, object]:
        """What must not change by anything that another user does: all there is to know."""
        found: dict[str, object] = {}
        for place in await self.there(name):
            stream, _, consumer = place.partition(" ")
            if consumer:
                about = await self.api(f"CONSUMER.INFO.{stream}.{consumer}")
                keys: tuple[str, ...] = _CONSUMER_FACTS
            else:
                info = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
                state = info["state"]
                assert isinstance(state, dict)
                about, keys = state, _STREAM_FACTS
            found[place] = {key: about.get(key) for key in keys}
        return found
