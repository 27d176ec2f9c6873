"""Mailboxes for people of a test, made as the service makes them."""

from __future__ import annotations

import contextlib
from typing import Any

from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeout

from authsvc import subjects
from authsvc.server.policy import stream_names
from authsvc.server.provision.jetstream import JetStream
from authsvc.server.provision.mail_streams import Bounds, Desired
from authsvc.server.provision.mailbox import Mailboxes as Maker
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.security.mailboxes import Mailboxes


class Post:
    """Mailboxes of a test's people.

    Args:
        people: Whose.
        client: Connected as the provisioner.
    """

    def __init__(self, people: People, client: Client) -> None:
        self.people = people
        self.mailboxes = Mailboxes(client)
        self._client = client

    @classmethod
    async def open(cls, people: People) -> Post:
        kit = people.kit
        creds = kit.realm.provisioner_creds()
        return cls(people, await kit.connect(creds))

    async def requests(self, name: str, *apps: str, pending: int = 1000, wait: int = 0) -> None:
        """What the service makes of a user's apps.

        Args:
            name: The user.
            apps: What the user offers.
            pending: Requests of one requester that may wait for one app.
            wait: Seconds until an unacknowledged one is handed out again; as ever if 0.
        """
        bounds = Bounds(backoff=(wait,)) if wait else Bounds()
        await self._apply(name, bounds, apps=apps, max_pending=pending)

    async def responses(self, name: str, *apps: str) -> None:
        """Let a user's responses be kept, and the apps' requests."""
        await self._apply(name, Bounds(), apps=apps, responses=True)

    async def _apply(self, name: str, bounds: Bounds, apps: tuple[str, ...], **more: Any) -> None:
        tokens = tuple(sorted(subjects.token(app) for app in apps))
        desired = Desired(f"usr_{name}", subjects.token(name), tokens, **more)
        jetstream = JetStream(lambda: self._client)
        await Maker(jetstream, jetstream, bounds).apply(desired)

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
