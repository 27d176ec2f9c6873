"""docs/migrating.md: its right-hand examples run against the whole service, and print what it says."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from authsvc.rpc import syft
from tests.fixtures.authsvc import live_service

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = [text for kind, text in BLOCKS if kind == "python"]
PRINTED = [text for kind, text in BLOCKS if kind == "text"]
URL = "http://127.0.0.1:8080"


async def start(program: str, url: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", program.replace(URL, url), cwd=folder, stdout=asyncio.subprocess.PIPE
    )


@asynccontextmanager
async def answering(program: str, url: str, folder: Path) -> AsyncIterator[None]:
    """A responder of the page, from "ready" until it is told to end."""
    process = await start(program, url, folder)
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0


async def test_its_examples_print_what_it_says(tmp_path: Path) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    *boxes, kept, native = PROGRAMS
    async with live_service(tmp_path / "data", database, dev_login=True) as service:
        for box, asking, printed in zip(boxes, (kept, native), PRINTED, strict=True):
            async with answering(box, service.url, tmp_path):
                process = await start(asking, service.url, tmp_path)
                found, _ = await asyncio.wait_for(process.communicate(), 60)
                assert found.decode() == printed
                assert process.returncode == 0


def test_it_names_what_there_is() -> None:
    named = set(re.findall(r"\w+", PAGE))
    assert set(syft.__all__) <= named
