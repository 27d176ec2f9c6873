"""Fixtures for tests of apps: authsvc and nats-server on this machine, and people logged in.

pytest finds them by itself where authsvc is installed; nothing is imported or started until a
test asks for one. See docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from authsvc.rpc import AsyncClient, Client
    from authsvc.rpc.testing import LocalServer

__all__ = ["authsvc_login", "authsvc_login_sync", "authsvc_server", "authsvc_settings"]


@pytest.fixture(scope="session")
def authsvc_settings() -> dict[str, str]:
    """Settings of authsvc by name, without their prefix; override it in your conftest.py."""
    return {}


@pytest.fixture(scope="session")
def authsvc_server(
    tmp_path_factory: pytest.TempPathFactory, authsvc_settings: dict[str, str]
) -> Iterator[LocalServer]:
    """The real servers, authsvc and nats-server, on free ports: one pair for all tests of a run."""
    from authsvc.errors import StartRefused  # noqa: PLC0415  nothing before it is asked for
    from authsvc.rpc.testing import LocalServer  # noqa: PLC0415

    server = LocalServer(tmp_path_factory.mktemp("authsvc"), authsvc_settings)
    refused = None
    try:
        server.start()
    except StartRefused as error:
        refused = str(error)
    if refused is not None:
        pytest.fail(f"authsvc_server: {refused}", pytrace=False)
    yield server
    server.stop()


@pytest.fixture
def authsvc_login(authsvc_server: LocalServer) -> Callable[[str], AsyncClient]:
    """What makes clients of people, who log in by their e-mail when the client connects."""
    return authsvc_server.client


@pytest.fixture
def authsvc_login_sync(authsvc_server: LocalServer) -> Callable[[str], Client]:
    """The same for code that blocks: it makes a ``Client``, to be used in a ``with``."""
    return authsvc_server.sync_client
