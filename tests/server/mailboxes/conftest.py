"""Alice, who offers apps; bob, who calls them; with names that are no other test's."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from tests.fixtures.authsvc import LiveService
from tests.server.mailboxes.post import Person, person


@pytest.fixture
async def alice(service: LiveService) -> AsyncIterator[Person]:
    async with person(service, f"alice.{secrets.token_hex(4)}@example.com") as found:
        yield found


@pytest.fixture
async def bob(service: LiveService) -> AsyncIterator[Person]:
    async with person(service, f"bob-{secrets.token_hex(4)}@example.com") as found:
        yield found
