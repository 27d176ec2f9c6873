"""Streams as the service will make them, made by hand, as the provisioner user."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import orjson
from nats.errors import TimeoutError as NatsTimeout

from authsvc import subjects
from authsvc.server.policy import stream_names

if TYPE_CHECKING:
    from nats.aio.client import Client

ACK_SECONDS = 300  # nothing is handed out again during a test
_NS = 1_000_000_000
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
        token = subjects.token(name)
        requests, responses = stream_names(token)
        # An account's folder goes a little after its last stream, and a stream that is made at
        # that moment fails (10049): one stays.
        await self.api("STREAM.CREATE.stays", {"name": "stays", "subjects": ["stays"]})
        filters = {
            app: f"requests.*.{token}.{subjects.token(app)}.stored" for app in apps or ["chat"]
        }
        config = {
            "name": requests,
            "subjects": [f"nothing.{token}"],
            "retention": "workqueue",
            "storage": "file",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": 1000,
            "max_age": 3600 * _NS,
            "num_replicas": replicas,
        }
        await self.api(f"STREAM.CREATE.{requests}", config)
        for app, subject in filters.items():
            consumer = {
                "name": subjects.token(app),
                "durable_name": subjects.token(app),
                "ack_policy": "explicit",
                "ack_wait": ACK_SECONDS * _NS,
                "filter_subject": subject,
                "max_waiting": 512,
            }
            await self.api(
                f"CONSUMER.CREATE.{requests}.{subjects.token(app)}.{subject}",
                {"stream_name": requests, "config": consumer, "action": "create"},
            )
        # The subjects last: what came before its consumer would be acked and dropped.
        config["subjects"] = list(filters.values())
        await self.api(f"STREAM.UPDATE.{requests}", config)
        await self.api(
            f"STREAM.CREATE.{responses}",
            {
                "name": responses,
                "subjects": [f"responses.{token}.*.*.*.stored"],
                "retention": "limits",
                "storage": "file",
                "max_msgs_per_subject": 1,
                "max_age": 3600 * _NS,
                "num_replicas": replicas,
            },
        )

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
