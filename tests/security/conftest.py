"""Users with hostile names, connected by clients that refuse nothing by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from tests.fixtures.nats import HOST, NatsKit
from tests.security.mailboxes import Mailboxes
from tests.security.raw import RawClient

if TYPE_CHECKING:
    from authsvc.claims import Creds

RawConnect = Callable[..., Awaitable[RawClient]]


@pytest.fixture
async def raw(nats_kit: NatsKit) -> AsyncIterator[RawConnect]:
    """Connects a name, or a credential, by the raw protocol."""
    opened: list[RawClient] = []

    async def connect(who: str | Creds, kit: NatsKit = nats_kit) -> RawClient:
        creds = kit.user_creds(who) if isinstance(who, str) else who
        opened.append(await RawClient.connect(HOST, kit.server.port, creds))
        return opened[-1]

    yield connect
    for client in opened:
        await client.close()


@pytest.fixture
async def mailboxes(nats_kit: NatsKit) -> Mailboxes:
    """Makes streams, as the service's provisioner."""
    return Mailboxes(await nats_kit.connect(nats_kit.realm.provisioner_creds()))
