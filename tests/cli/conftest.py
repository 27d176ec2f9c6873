"""A service, and a shell for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.fixtures.authsvc import live_service


@pytest.fixture
async def admin_shell(tmp_path: Path, sqlite_url: str) -> AsyncIterator[Shell]:
    """With an API key that may everything."""
    async with live_service(tmp_path / "data", sqlite_url) as service:
        yield Shell(service, await service.api_key("admin"))
