"""The services without a profile: TLS on every listener, names checked, and a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.conftest import API_NAME, NATS_NAME, URL, Deployed, fresh_database
from tests.deploy.people import api, connected, login
from tests.deploy.web import browsing, bundled
from tests.fixtures.authority import Authority
from tests.fixtures.authsvc import access_token
from tests.fixtures.postgres import Postgres


@pytest.fixture(scope="module")
async def deployed(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres
) -> AsyncIterator[Deployed]:
    """What ``docker compose up`` starts, ready."""
    async with fresh_database(postgres) as url:
        compose = Deployed(tmp_path_factory.mktemp("single"), url)
        try:
            await compose.up("authsvc")
            await compose.ready("authsvc")
            yield compose
        finally:
            compose.down()


async def _plain(address: str, port: int, request: bytes) -> bytes:
    """What a client without TLS is told, whatever it asks."""
    reader, writer = await asyncio.open_connection(address, port)
    writer.write(request)
    async with asyncio.timeout(10):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def _handshake(address: str, port: int, trust: ssl.SSLContext, name: str) -> None:
    _, writer = await asyncio.open_connection(address, port, ssl=trust, server_hostname=name)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_people_come_by_tls_and_by_nothing_else(deployed: Deployed, tmp_path: Path) -> None:
    address, trust = deployed["authsvc"].address, deployed.authority.trust()
    nats = deployed["nats"].address
    async with api(address, API_NAME, trust) as http:
        assert (await http.get("/.well-known/authsvc")).json()["public_url"] == URL
        alice = await login(http, URL, "alice@example.com")
    assert alice.credential["servers"] == [f"tls://{NATS_NAME}:4222", f"wss://{NATS_NAME}:8081"]
    client = await connected(alice, f"tls://{nats}:4222", tls=trust, tls_hostname=NATS_NAME)
    await client.close()
    await _handshake(nats, 8081, trust, NATS_NAME)
    # Another name, and another authority.
    stranger = Authority(tmp_path / "stranger").trust()
    for name, trusted in (("other.authsvc.test", trust), (API_NAME, stranger)):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            async with api(address, name, trusted) as http:
                await http.get("/healthz")
        with pytest.raises(ssl.SSLCertVerificationError):
            await connected(alice, f"tls://{nats}:4222", tls=trusted, tls_hostname=name)
        with pytest.raises(ssl.SSLCertVerificationError):
            await _handshake(nats, 8081, trusted, name)
    # No TLS, no answer.
    assert await _plain(address, 8080, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") == b""
    said = await _plain(nats, 4222, b'CONNECT {"verbose":false}\r\nPING\r\n')
    assert b"PONG" not in said
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    assert b"101 " not in await _plain(nats, 8081, upgrade + b"Sec-WebSocket-Version: 13\r\n\r\n")
    # The service itself checked the names of what it reaches, and found them right.
    assert "can't reach" not in deployed["authsvc"].log.read_text()


async def test_a_browser_logs_in_and_talks_by_wss(deployed: Deployed, tmp_path: Path) -> None:
    (tmp_path / "npm").mkdir()
    script = await asyncio.to_thread(bundled, tmp_path / "npm")
    hosts = {
        API_NAME: deployed["authsvc"].address,
        NATS_NAME: deployed["nats"].address,
        "other.authsvc.test": deployed["nats"].address,
    }
    async with browsing(tmp_path / "home", deployed.authority, hosts) as page:
        await page.goto(f"{URL}/.well-known/authsvc")
        await page.add_script_tag(content=script)
        tokens = [access_token(f"{name}@example.com") for name in ("alice", "bob")]
        heard = await page.evaluate("args => authsvc.talk(...args)", [tokens, "chat", "hello"])
        subject = "requests.alice@example%2Ecom.bob@example%2Ecom.chat"
        assert heard == [subject, "hello"]
        # The same server by a name that is not in its certificate.
        args = [access_token("eve@example.com"), "wss://other.authsvc.test:8081"]
        assert await page.evaluate("args => authsvc.refused(...args)", args) != "connected"
        args[1] = f"wss://{NATS_NAME}:8081"
        assert await page.evaluate("args => authsvc.refused(...args)", args) == "connected"
