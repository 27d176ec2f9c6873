"""docs/http-over-nats.md: its code runs against the whole service, and prints what it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import authsvc.rpc.http
from authsvc.rpc import AsyncClient
from tests.fixtures.authsvc import live_service
from tests.rpc.test_docs import execute

PAGE = (Path(__file__).parents[2] / "docs" / "http-over-nats.md").read_text("utf-8")
URL = "http://127.0.0.1:8080"


def blocks(kind: str) -> list[str]:
    return [part.split("\n```")[0] + "\n" for part in PAGE.split(f"```{kind}\n")[1:]]


async def test_its_code_runs(tmp_path: Path) -> None:
    app, caller, handlers, streams = blocks("python")
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    async with live_service(tmp_path / "data", database, dev_login=True) as service:
        responder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", app.replace(URL, service.url)),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
        )
        assert responder.stdout is not None
        try:
            assert await asyncio.wait_for(responder.stdout.readline(), 30) == b"ready\n"
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", caller.replace(URL, service.url)),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await asyncio.wait_for(process.communicate(), 30)
            assert [printed.decode()] == blocks("text")
        finally:
            responder.terminate()
            await responder.communicate()
        assert responder.returncode == 0
        login: dict[str, Any] = {"method": "dev", "token": "bob@example.com"}
        async with AsyncClient(service.url, **login) as client:
            names: dict[str, Any] = {"client": client}
            await execute(handlers, names)
            serving = asyncio.create_task(names["service"].serve(client))
            await names["service"].ready()
            await execute(streams, names)
            await names["service"].stop()
            await serving


def test_it_names_what_there_is() -> None:
    for name in authsvc.rpc.http.__all__:
        assert f"`{name}" in PAGE or f"{name}(" in PAGE, name
    for name in ("ResponseStream", "SyncResponseStream"):
        assert name in PAGE
