"""``authsvc device`` as a process of its own."""

from __future__ import annotations

from pathlib import Path

from authsvc.client import Api
from authsvc.device_client import DeviceFlow
from authsvc.nkey import KeyPair, Prefix
from tests.cli.shell import Shell
from tests.fixtures.authsvc import live_service


async def test_a_terminal_is_let_in(tmp_path: Path, sqlite_url: str) -> None:
    async with (
        live_service(tmp_path / "data", sqlite_url, device_login=True) as service,
        Api(service.url, key=KeyPair.generate(Prefix.USER)) as api,
    ):
        shell = Shell(service, await service.api_key("credentials:issue"))
        flow = DeviceFlow(api, client="laptop")
        code = (await flow.ask()).user_code
        approve = ("device", "approve", code, "--username", "alice@example.com")
        assert "laptop" in (await shell.ok("device", "show", code)).out
        assert "would let in" in (await shell.ok(*approve, "--dry-run")).out
        refused = await shell(*approve)
        assert (refused.code, "laptop" in refused.err) == (3, True)
        assert await flow.poll() is None
        assert (await shell.ok(*approve, "--yes", "--json")).json["state"] == "approved"
        token = await flow.poll()
        assert token is not None
        assert (await api.login(token)).username == "alice@example.com"
        code = (await flow.ask()).user_code
        assert "would refuse" in (await shell.ok("device", "deny", code, "--dry-run")).out
        assert (await shell.ok("device", "deny", code)).out == "it is refused\n"
        assert (await shell("device", "deny", code)).code == 1
        assert (await shell("device", "show", "BCDF-GHJK")).code == 1
