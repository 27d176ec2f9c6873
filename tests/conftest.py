"""Fixtures that every test may ask for; each is a real server or a real folder."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.nats",
    "tests.fixtures.authsvc",
    "tests.fixtures.cluster",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
