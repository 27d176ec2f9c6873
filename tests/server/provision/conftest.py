"""A certificate for loopback; nats-servers of somebody else's; plain connections of users."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.fixtures.nsc import Nsc, NscServer
from tests.server.provision.guests import Guests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.server.provision.adopted import StartNats


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[StartNats]:
    with ExitStack() as stack:

        def start(nsc: Nsc) -> NscServer:
            server = NscServer(nsc, tmp_path / "theirs")
            server.start()
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
async def guests() -> AsyncIterator[Guests]:
    found = Guests()
    try:
        yield found
    finally:
        await found.close()
