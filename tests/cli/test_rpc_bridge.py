"""``authsvc rpc bridge`` as a process, before an HTTP server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from authsvc.claims import format_creds
from authsvc.rpc import AsyncClient
from tests.cli.shell import authsvc
from tests.fixtures import forks
from tests.fixtures.nats import NatsKit

SERVER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.headers["x-syft-user"].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


async def started(*command: str) -> tuple[asyncio.subprocess.Process, str]:
    """A process, and the first line that it prints."""
    plain = {name: value for name, value in os.environ.items() if "AUTHSVC" not in name}
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=plain
    )
    assert process.stdout is not None
    return process, (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


async def test_it_puts_a_server_on_nats(nats_kit: NatsKit, tmp_path: Path) -> None:
    bob = nats_kit.user_creds("bob.bridge@example.com")
    path = tmp_path / "bob.creds"
    path.write_text(format_creds(bob.jwt, bob.key))
    server, port = await started(sys.executable, "-c", SERVER)
    bridge, line = await started(
        *forks.authsvc(),
        *("rpc", "bridge", "--app-name", "far"),
        *("--target", f"http://127.0.0.1:{port}", "--deny", "/admin/**"),
        *("--creds", str(path), "--server", nats_kit.url),
    )
    try:
        assert line == "ready far"
        alice = nats_kit.user_creds("alice.bridge@example.com")
        creds = format_creds(alice.jwt, alice.key)
        async with AsyncClient(creds=creds, servers=[nats_kit.url]) as client:
            transport = client.peer("bob.bridge@example.com", "far").transport()
            async with httpx.AsyncClient(transport=transport, base_url="http://bob") as http:
                assert (await http.get("/who")).text == "alice.bridge@example.com"
                assert (await http.get("/admin/who")).status_code == 403
        bridge.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(bridge.wait(), 20) == 0
    finally:
        for process in (bridge, server):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "127.0.0.1:9000"), "target"),
        (("--target", "http://127.0.0.1:9000", "--allow", "items"), "no rule"),
        ((), "target"),
    ],
)
async def test_what_does_not_fit_is_a_usage_error(arguments: tuple[str, ...], said: str) -> None:
    ran = await authsvc("rpc", "bridge", "--app-name", "far", *arguments, env={})
    assert ran.code == 2
    assert said in ran.err
