"""Fixtures that every test may ask for; each is a real server or a real folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from authsvc.server.provision import ports
from tests.fixtures import forks

# How long an example takes says something of the machine, not of the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

pytest_plugins = [
    "tests.fixtures.postgres",
    "tests.fixtures.nats",
    "tests.fixtures.authsvc",
    "tests.fixtures.cluster",
    "tests.fixtures.watching",
    "tests.fixtures.oidc",
    "tests.fixtures.leaks",
    "tests.fixtures.logging",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _ports_of_this_worker() -> None:
    """Workers side by side choose ports from ranges of their own, so that none takes another's."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lowest, highest = ports._quiet_range()
    share = (highest - lowest + 1) // (count + 1)  # the last share is for other processes
    ports._LOWEST = lowest + number * share
    ports._HIGHEST = ports._LOWEST + share - 1


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """What commands are forked from ends with the tests."""
    yield
    forks.end()
