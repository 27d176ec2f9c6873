"""Making nats-server's streams what a mailbox shall be, as users of MAIL.

    mailboxes = Mailboxes(provisioner, postmaster, bounds)
    await mailboxes.apply(desired)
    await mailboxes.remove(token)

Each step may be the last one before a crash and can be done again. A consumer is made before its
subject, and goes after it: a request that comes in between would be acknowledged and dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from authsvc.server import metrics
from authsvc.server.policy import stream_names
from authsvc.server.provision.jetstream import (
    CREATE_FAILED,
    STREAM_NOT_FOUND,
    JetStream,
    JetStreamRefused,
)
from authsvc.server.provision.mail_streams import (
    ADVISORIES,
    Bounds,
    Desired,
    advisory_consumer,
    advisory_stream,
    app_consumer,
    app_subject,
    differs,
    nowhere,
    owner_of,
    request_stream,
    response_stream,
)

__all__ = ["Mailboxes", "by_token"]

_AT_ONCE = 16
_TRIES = 8
_PAUSE_SECONDS = 0.05


def by_token(names: Iterable[str]) -> dict[str, set[str]]:
    """The streams of mailboxes among some, by the token of their user."""
    found: dict[str, set[str]] = {}
    for name in names:
        if name.startswith(("requests_", "responses_")):
            found.setdefault(name.partition("_")[2], set()).add(name)
    return found


class Mailboxes:
    """The streams of all users.

    Args:
        jetstream: Of MAIL, as the provisioner.
        postmaster: The same as the postmaster, who may remove messages.
        bounds: Of every mailbox.
    """

    def __init__(self, jetstream: JetStream, postmaster: JetStream, bounds: Bounds) -> None:
        self._jetstream = jetstream
        self._postmaster = postmaster
        self.bounds = bounds

    async def apply(self, desired: Desired) -> None:
        """Let nats-server have what the rows say; nothing is done where it has that.

        Raises:
            JetStreamRefused: nats-server refuses, for want of room for instance.
            Unavailable: It does not answer.
        """
        requests, responses = stream_names(desired.token)
        if desired.apps:
            await self._apply_requests(desired, requests)
        else:
            await self._delete(requests)
        if desired.responses:
            await self._apply_responses(desired, responses)
        else:
            await self._delete(responses)

    async def remove(self, token: str) -> None:
        """Remove both streams of a user, with all that is in them.

        Raises:
            JetStreamRefused: nats-server refuses.
            Unavailable: It does not answer.
        """
        for name in stream_names(token):
            await self._delete(name)

    async def unacknowledged(self, token: str, app: str) -> int | None:
        """How many requests of an app were handed out and not acknowledged; None without it.

        Raises:
            JetStreamRefused: nats-server refuses.
            Unavailable: It does not answer.
        """
        stream, _ = stream_names(token)
        found = await self._jetstream.find(f"CONSUMER.INFO.{stream}.{app}")
        return None if found is None else int(found["num_ack_pending"])

    async def streams(self) -> set[str]:
        """The names of the streams there are.

        Raises:
            Unavailable: nats-server does not answer.
        """
        return await self._jetstream.stream_names()

    async def agreeing(self, wanted: Mapping[str, Desired]) -> set[str]:
        """Those of some mailboxes that nats-server has as their rows say.

        Streams are read by the page and one question is asked for each app, where ``apply`` asks
        several: thousands of mailboxes agree, and few do not.

        Args:
            wanted: What the rows say, by the token of the user.

        Raises:
            Unavailable: nats-server does not answer.
        """
        right: dict[str, set[str]] = {}
        async for stream in self._jetstream.streams():
            name = stream["config"]["name"]
            desired = wanted.get(name.partition("_")[2])
            if desired is not None and self._is_as_wanted(desired, stream):
                right.setdefault(desired.token, set()).add(name)
        places = asyncio.Semaphore(_AT_ONCE)

        async def agrees(desired: Desired) -> bool:
            if right.get(desired.token) != desired.streams:
                return False
            requests, _ = stream_names(desired.token)
            async with places:
                for app in desired.apps:
                    if not await self._has_consumer(
                        requests, app_consumer(desired.token, app, self.bounds)
                    ):
                        return False
            return True

        found = await asyncio.gather(*map(agrees, wanted.values()))
        return {token for token, agreed in zip(wanted, found, strict=True) if agreed}

    def _is_as_wanted(self, desired: Desired, stream: Mapping[str, Any]) -> bool:
        """Whether one of its streams is, and has as many consumers as there are apps."""
        config = stream["config"]
        if config["name"] not in desired.streams:
            return False
        requests, _ = stream_names(desired.token)
        if config["name"] != requests:
            return not differs(response_stream(desired, self.bounds), config)
        return stream["state"]["consumer_count"] == len(desired.apps) and not differs(
            self._wanted_requests(desired, config), config
        )

    async def measure(self) -> None:
        """Count what waits in all mailboxes.

        Raises:
            Unavailable: nats-server does not answer.
        """
        found: dict[str, list[tuple[int, int]]] = {"requests": [], "responses": []}
        async for stream in self._jetstream.streams():
            kind, separator, _ = stream["config"]["name"].partition("_")
            if separator and kind in found:
                state = stream["state"]
                found[kind].append((state["messages"], state["bytes"]))
        for kind, sizes in found.items():
            metrics.MAILBOX_MESSAGES.labels(kind).set(sum(count for count, _ in sizes))
            metrics.MAILBOX_BYTES.labels(kind).set(sum(size for _, size in sizes))
            fullest = max((count for count, _ in sizes), default=0)
            metrics.MAILBOX_FULLEST.labels(kind).set(fullest)

    async def watch(self) -> None:
        """Make what keeps the news of dead letters.

        Raises:
            JetStreamRefused: nats-server refuses.
            Unavailable: It does not answer.
        """
        wanted = advisory_stream(self.bounds)
        found = await self._config(ADVISORIES)
        if found is None:
            await self._create(wanted)
        elif differs(wanted, found):
            await self._update(wanted)
        await self._agree_consumer(ADVISORIES, advisory_consumer())

    async def _apply_requests(self, desired: Desired, name: str) -> None:
        found = await self._own(name, desired.owner)
        if found is None:
            found = request_stream(desired, self.bounds, [nowhere(desired.token)])
            await self._create(found)
        for app in desired.apps:
            await self._agree_consumer(name, app_consumer(desired.token, app, self.bounds))
        wanted = self._wanted_requests(desired, found)
        if differs(wanted, found):
            await self._update(wanted)
        for app in await self._consumers(name) - set(desired.apps):
            # Last the consumer: while it is there, it is known what is still to be done.
            gone = {"filter": app_subject(desired.token, app)}
            await self._postmaster.ask(f"STREAM.PURGE.{name}", gone)
            await self._jetstream.find(f"CONSUMER.DELETE.{name}.{app}")

    def _wanted_requests(self, desired: Desired, found: Mapping[str, Any]) -> dict[str, Any]:
        subjects = [app_subject(desired.token, app) for app in desired.apps]
        # In the order that nats-server has them, so that another order is no change.
        if set(found["subjects"]) == set(subjects):
            subjects = found["subjects"]
        return request_stream(desired, self.bounds, subjects)

    async def _apply_responses(self, desired: Desired, name: str) -> None:
        wanted = response_stream(desired, self.bounds)
        found = await self._own(name, desired.owner)
        if found is None:
            await self._create(wanted)
        elif differs(wanted, found):
            await self._update(wanted)

    async def _own(self, name: str, owner: str) -> Mapping[str, Any] | None:
        """The stream's configuration, if there is one and it is this user's.

        Who was deleted may have had the name before, and that one's messages are not for the
        next.
        """
        found = await self._config(name)
        if found is not None and owner_of(found) != owner:
            await self._delete(name)
            return None
        return found

    async def _config(self, name: str) -> Mapping[str, Any] | None:
        found = await self._jetstream.find(f"STREAM.INFO.{name}")
        return None if found is None else found["config"]

    async def _consumers(self, name: str) -> set[str]:
        names: set[str] = set()
        while True:
            page = await self._jetstream.ask(f"CONSUMER.NAMES.{name}", {"offset": len(names)})
            found = page.get("consumers") or []
            names.update(found)
            if not found or len(names) >= page["total"]:
                return names

    async def _agree_consumer(self, stream: str, wanted: dict[str, Any]) -> None:
        if await self._has_consumer(stream, wanted):
            return
        name = wanted["name"]
        subject = wanted.get("filter_subject")
        call = f"CONSUMER.CREATE.{stream}.{name}" + (f".{subject}" if subject else "")
        await self._jetstream.ask(call, {"stream_name": stream, "config": wanted})

    async def _has_consumer(self, stream: str, wanted: Mapping[str, Any]) -> bool:
        found = await self._jetstream.find(f"CONSUMER.INFO.{stream}.{wanted['name']}")
        return found is not None and not differs(wanted, found["config"])

    async def _create(self, config: Mapping[str, Any]) -> None:
        for attempt in range(1, _TRIES + 1):
            try:
                await self._jetstream.ask(f"STREAM.CREATE.{config['name']}", config)
            except JetStreamRefused as error:
                # An account's empty folder is removed a little after its last stream went; one
                # that is made at that moment fails.
                if error.code != CREATE_FAILED or attempt == _TRIES:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * attempt)
            else:
                metrics.STREAMS.labels("create").inc()
                return

    async def _update(self, config: Mapping[str, Any]) -> None:
        await self._jetstream.ask(f"STREAM.UPDATE.{config['name']}", config)
        metrics.STREAMS.labels("update").inc()

    async def _delete(self, name: str) -> None:
        try:
            await self._jetstream.ask(f"STREAM.DELETE.{name}")
        except JetStreamRefused as error:
            if error.code != STREAM_NOT_FOUND:
                raise
        else:
            metrics.STREAMS.labels("delete").inc()
