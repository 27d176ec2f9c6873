"""``authsvc console``, and the link that ``authsvc up`` prints."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx

from tests.cli.shell import Shell
from tests.fixtures import forks


async def test_a_link_is_printed_and_works_once(admin_shell: Shell) -> None:
    link = (await admin_shell.ok("console")).out.strip()
    url, _, secret = link.partition("#")
    made = (await admin_shell.ok("console", "--json")).json
    assert made["url"] != link
    async with httpx.AsyncClient() as client:
        answers = [await client.post(url, data={"secret": secret}) for _ in range(2)]
    assert [it.status_code for it in answers] == [303, 401]


async def test_up_prints_a_link(tmp_path: Path) -> None:
    data = tmp_path / "data"
    up = await asyncio.create_subprocess_exec(
        *forks.authsvc(),
        *("up", "--port", "0", "--nats-port", "0"),
        *("--data-dir", str(data)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert up.stdout is not None
        text = (await asyncio.wait_for(up.stdout.readuntil(b"ready "), 60)).decode()
        found = re.search(r"(http://\S+/console/sign-in)#(once_\S+)", text)
        assert found is not None, text
        async with httpx.AsyncClient() as client:
            answer = await client.post(found[1], data={"secret": found[2]})
            assert answer.headers["location"] == "/console"
            url = found[1].removesuffix("/sign-in")
            assert (await client.get(f"{url}/users")).status_code == 200
    finally:
        up.terminate()
        await up.communicate()
    logged = "".join(path.read_text() for path in (data / "log").iterdir())
    assert found[2] not in logged
    assert client.cookies["authsvc-console"] not in logged
