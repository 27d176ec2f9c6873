"""docs/migrating.md: its examples run against the whole service, and print what it says."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from authsvc.rpc import syft
from tests.fixtures.authsvc import live_service
from tests.rpc.test_credentials import config

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
PRINTED = [text for kind, text in BLOCKS if kind == "text"]
URL = "http://127.0.0.1:8080"


BARE_BOX = """
from authsvc.rpc import Client
from authsvc.rpc.syft import Request, SyftEvents

with Client() as client:
    box = SyftEvents("bare", client=client, on_ready=lambda: print("ready", flush=True))

    @box.on_request("/who")
    def who(request: Request) -> str:
        return request.sender

    box.run_forever()
"""
BARE_ASKING = """
import os, sys
from authsvc.rpc.syft import broadcast, make_url, send

url = make_url("bob@example.com", "bare", "who")
print(send(url).wait(timeout=30).text(), flush=True)
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print([response.text() for response in broadcast([url, url]).gather_completed(timeout=30)])
"""


# Whoever runs the tests in the background has the interrupt ignored, and so have their children.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


async def start(program: str, url: str, folder: Path) -> asyncio.subprocess.Process:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SYFTBOX_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        INTERRUPTIBLE + program.replace(URL, url),
        cwd=folder,
        env=env | {"HOME": str(folder), "SYFTBOX_AUTHSVC_URL": url},
        stdout=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def answering(
    program: str, url: str, folder: Path, *, end: signal.Signals = signal.SIGTERM
) -> AsyncIterator[None]:
    """A responder, from "ready" until it is told to end."""
    process = await start(program, url, folder)
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        yield
    finally:
        process.send_signal(end)
        await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0


async def test_its_examples_print_what_it_says(tmp_path: Path) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    *boxes, kept, native = PROGRAMS
    async with live_service(tmp_path / "data", database, dev_login=True) as service:
        for box, asking, printed in zip(boxes, (kept, native), PRINTED, strict=True):
            async with answering(box, service.url, tmp_path):
                assert await output(asking, service.url, tmp_path) == printed


async def output(program: str, url: str, folder: Path) -> str:
    process = await start(program, url, folder)
    found, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return found.decode()


async def test_syftbox_s_configuration_alone_is_enough(tmp_path: Path) -> None:
    homes = []
    for name in ("alice", "bob"):
        home = tmp_path / name
        homes.append(home)
        config(home, email=f"{name}@example.com", server_url=URL, refresh_token=None)
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    async with (
        live_service(tmp_path / "data", database, dev_login=True) as service,
        answering(BARE_BOX, service.url, homes[1], end=signal.SIGINT),
    ):
        printed = await output(BARE_ASKING, service.url, homes[0])
    assert printed == "alice@example.com\n['alice@example.com', 'alice@example.com']\n"


def test_it_names_what_there_is() -> None:
    named = set(re.findall(r"\w+", PAGE))
    assert set(syft.__all__) <= named
