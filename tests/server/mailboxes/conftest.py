"""Alice, who offers apps; bob, who calls them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fixtures.authsvc import LiveService
from tests.server.mailboxes.post import Person, person


@pytest.fixture
async def alice(service: LiveService) -> AsyncIterator[Person]:
    async with person(service, "alice.smith@example.com") as found:
        yield found


@pytest.fixture
async def bob(service: LiveService) -> AsyncIterator[Person]:
    async with person(service, "bob@example.com") as found:
        yield found
