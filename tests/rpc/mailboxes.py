"""Mailboxes for people of a test: streams and consumers, made as the provisioner."""

from __future__ import annotations

import contextlib
from typing import Any

from nats.errors import TimeoutError as NatsTimeout

from authsvc import subjects
from authsvc.server.policy import stream_names
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.security.mailboxes import Mailboxes

_NS = 1_000_000_000


class Post:
    """Mailboxes of a test's people; the streams are made by hand, quick where a test needs it.

    Args:
        people: Whose.
        mailboxes: The provisioner's ways.
    """

    def __init__(self, people: People, mailboxes: Mailboxes) -> None:
        self.people = people
        self.mailboxes = mailboxes

    @classmethod
    async def open(cls, people: People) -> Post:
        kit = people.kit
        creds = kit.realm.provisioner_creds()
        return cls(people, Mailboxes(await kit.connect(creds)))

    async def requests(self, name: str, *apps: str, pending: int = 1000, wait: float = 12) -> None:
        """The stream of requests; ``wait`` is when an unacknowledged one is handed out again."""
        token = subjects.token(name)
        stream, _ = stream_names(token)
        filters = {app: f"requests.*.{token}.{subjects.token(app)}.stored" for app in apps}
        config = {
            "name": stream,
            "subjects": [f"nothing.{token}"],
            "retention": "workqueue",
            "storage": "file",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": pending,
            "max_age": 3600 * _NS,
            "duplicate_window": 120 * _NS,
        }
        await self._api(f"STREAM.CREATE.{stream}", config)
        for app, subject in filters.items():
            consumer = {
                "name": subjects.token(app),
                "durable_name": subjects.token(app),
                "filter_subject": subject,
                "ack_policy": "explicit",
                "ack_wait": int(wait * _NS),
                "max_deliver": 6,
                "max_ack_pending": 1024,
                "max_batch": 512,
                "max_expires": 60 * _NS,
                "max_waiting": 256,
            }
            await self._api(
                f"CONSUMER.CREATE.{stream}.{subjects.token(app)}.{subject}",
                {"stream_name": stream, "config": consumer, "action": "create"},
            )
        await self._api(f"STREAM.UPDATE.{stream}", config | {"subjects": list(filters.values())})

    async def responses(self, name: str, **more: Any) -> None:
        """The stream of responses."""
        token = subjects.token(name)
        stream = stream_names(token)[1]
        await self._api(
            f"STREAM.CREATE.{stream}",
            {
                "name": stream,
                "subjects": [f"responses.{token}.*.*.*.stored"],
                "storage": "file",
                "max_msgs_per_subject": 1,
                "max_age": 3600 * _NS,
                **more,
            },
        )

    async def waiting(self, name: str) -> int:
        """How many requests are stored for a user."""
        stream = stream_names(subjects.token(name))[0]
        state: Any = (await self._api(f"STREAM.INFO.{stream}"))["state"]
        return int(state["messages"])

    async def emptied(self, name: str) -> None:
        """Return when every request is acknowledged."""

        async def empty() -> bool:
            with contextlib.suppress(NatsTimeout, AssertionError):
                return await self.waiting(name) == 0
            return False

        await until(empty, 30)

    async def _api(self, call: str, body: object = None) -> dict[str, object]:
        return await self.mailboxes.api(call, body)
