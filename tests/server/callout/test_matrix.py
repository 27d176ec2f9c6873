"""Nobody acts for, or listens in on, another, by auth callout either: the same twelve names."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fixtures.authsvc import LiveService, access_token
from tests.fixtures.nats import HOST
from tests.security.mailboxes import Mailboxes
from tests.security.raw import RawClient
from tests.security.test_matrix import (  # noqa: F401 - run here with the fixtures below
    NAMES,
    TOKENS,
    test_each_hears_what_is_theirs_and_nothing_more,
    test_everyone_may_do_what_is_their_own,
    test_no_one_listens_in_on_another,
    test_no_one_publishes_for_another,
    test_stored_requests_reach_their_owner_alone,
)
from tests.server.callout.conftest import Connect, port_of, provisioner


@pytest.fixture
async def people(door: LiveService) -> AsyncIterator[dict[str, RawClient]]:
    """Every user, connected with an access token as password, by encoded name."""
    port = port_of(door)
    clients = {
        TOKENS[name]: await RawClient.login(
            HOST, port, user="syftbox", **{"pass": access_token(name)}
        )
        for name in NAMES
    }
    assert [await client.refused() for client in clients.values()] == [[]] * len(NAMES)
    yield clients
    for client in clients.values():
        await client.close()


@pytest.fixture
async def mailboxes(door: LiveService, connect: Connect) -> Mailboxes:
    return Mailboxes(await connect(door, **await provisioner(door)))
