"""How much waits in mailboxes now, asked of JetStream as the provisioner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from authsvc.errors import Unavailable
from authsvc.server.policy import stream_names
from authsvc.server.provision.jetstream import JetStream

__all__ = ["Depth", "Waiting", "all_waiting"]

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Depth:
    """What a stream holds.

    Args:
        messages: How many.
        size: Their bytes.
        oldest_at: When the oldest came, RFC 3339; None where there is none.
    """

    messages: int
    size: int
    oldest_at: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a user; None where there is no such stream, or nobody answered.

    Args:
        requests: For the user's apps.
        responses: For the user.
        apps: Requests by app, with those that were handed out and not acknowledged yet.
    """

    requests: Depth | None = None
    responses: Depth | None = None
    apps: Mapping[str, int] = field(default_factory=dict)


async def all_waiting(
    jetstream: JetStream, mailboxes: Mapping[str, Sequence[str]]
) -> dict[str, Waiting]:
    """What waits in some mailboxes.

    Args:
        jetstream: Of MAIL, as the provisioner.
        mailboxes: By the token of their user, the tokens of the apps whose requests wait.

    Raises:
        Unavailable: nats-server does not answer.
    """
    places = asyncio.Semaphore(_AT_ONCE)

    async def ask(token: str, apps: Sequence[str]) -> Waiting:
        requests, responses = stream_names(token)
        async with places:
            waiting = await _depth(jetstream, requests)
            counts = {}
            for app in apps if waiting is not None else ():
                found = await jetstream.find(f"CONSUMER.INFO.{requests}.{app}") or {}
                counts[app] = found.get("num_pending", 0) + found.get("num_ack_pending", 0)
            return Waiting(waiting, await _depth(jetstream, responses), counts)

    if mailboxes:
        _ = jetstream.client  # without a connection nobody need be asked
    tasks = [asyncio.create_task(ask(*each)) for each in mailboxes.items()]
    try:
        return dict(zip(mailboxes, await asyncio.gather(*tasks), strict=True))
    except Unavailable:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _depth(jetstream: JetStream, name: str) -> Depth | None:
    found = await jetstream.find(f"STREAM.INFO.{name}")
    if found is None:
        return None
    state: dict[str, Any] = found["state"]
    messages = int(state["messages"])
    oldest = str(state["first_ts"]) if messages else None
    return Depth(messages, int(state["bytes"]), oldest)
