"""One browser for all tests of the console, and a service with people in it to look at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from playwright.async_api import Browser

from tests.fixtures.authsvc import LiveService, live_service
from tests.server.console.browsing import Visitor, chromium, visiting
from tests.server.console.town import HOSTILE, town


class Shown(NamedTuple):
    """A service with people in it, and an administrator who looks at it."""

    service: LiveService
    people: dict[str, Any]
    visitor: Visitor


@pytest.fixture(scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.fixture(scope="package")
async def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    """Shared by tests that look and change nothing; hostile names are among the people's."""
    data = tmp_path_factory.mktemp("console")
    async with (
        live_service(data, f"sqlite+aiosqlite:///{data}/authsvc.db") as service,
        town(service) as people,
        visiting(browser, service, viewport={"width": 1280, "height": 800}) as visitor,
    ):
        for name in HOSTILE:
            answer = await service.admin("POST", "/v1/admin/users", json={"username": name})
            assert answer.status_code == 201, answer.text
        await visitor.sign_in(people["key"])
        yield Shown(service, people, visitor)


@pytest.fixture
async def visitor(browser: Browser, service: LiveService) -> AsyncIterator[Visitor]:
    """Somebody who is not signed in yet, at a service of the test's own."""
    async with visiting(browser, service) as found:
        yield found
