"""Streams as the service will make them, made by hand, as the provisioner user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from authsvc import subjects
from authsvc.server.policy import stream_names

if TYPE_CHECKING:
    from nats.aio.client import Client

PULL_SECONDS = 5
_NS = 1_000_000_000


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

    async def make(self, name: str, app: str = "chat") -> None:
        """Both streams of a user, the consumer of one offline app, then its subject."""
        token, app_token = subjects.token(name), subjects.token(app)
        requests, responses = stream_names(token)
        config = {
            "name": requests,
            "subjects": [f"nothing.{token}"],
            "retention": "workqueue",
            "storage": "file",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": 1000,
            "max_age": 3600 * _NS,
            "num_replicas": 1,
        }
        await self.api(f"STREAM.CREATE.{requests}", config)
        consumer = {
            "name": app_token,
            "durable_name": app_token,
            "ack_policy": "explicit",
            "ack_wait": PULL_SECONDS * _NS,
            "filter_subject": f"requests.*.{token}.{app_token}.stored",
            "max_waiting": 16,
        }
        # The consumer first, then the subject: what came before it would be acked and dropped.
        await self.api(
            f"CONSUMER.CREATE.{requests}.{app_token}.{consumer['filter_subject']}",
            {"stream_name": requests, "config": consumer, "action": "create"},
        )
        config["subjects"] = [consumer["filter_subject"]]
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
                "num_replicas": 1,
            },
        )

    async def remove(self, name: str) -> None:
        """Both streams."""
        for stream in stream_names(subjects.token(name)):
            await self.api(f"STREAM.DELETE.{stream}")

    async def contents(self, name: str) -> dict[str, object]:
        """What must not change by anything that another user does: all there is to know."""
        found: dict[str, object] = {}
        for stream in stream_names(subjects.token(name)):
            info = await self.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
            state = info["state"]
            assert isinstance(state, dict)
            found[stream] = {
                key: state.get(key)
                for key in ("messages", "first_seq", "last_seq", "num_deleted", "subjects")
            }
            names = await self.api(f"CONSUMER.NAMES.{stream}")
            consumers = names["consumers"]
            assert isinstance(consumers, list)
            for consumer in consumers:
                about = await self.api(f"CONSUMER.INFO.{stream}.{consumer}")
                found[f"{stream} {consumer}"] = {
                    key: about[key]
                    for key in (
                        "delivered", "ack_floor", "num_ack_pending", "num_redelivered",
                        "num_waiting", "num_pending",
                    )
                }  # fmt: skip
        return found
