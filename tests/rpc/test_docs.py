"""docs/rpc.md: its code runs against the whole service, its tables name what there is."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import authsvc.rpc
from authsvc.rpc import AsyncClient, RpcError
from authsvc.rpc._calls.calls import ClientStats
from authsvc.rpc._responder.app import ServiceStats
from tests.fixtures.authsvc import live_service

PAGE = (Path(__file__).parents[2] / "docs" / "rpc.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
PYTHON = [text for kind, text in BLOCKS if kind == "python"]
PROGRAMS = [text for text in PYTHON if ".run(" in text]
BLOCKING = [text for text in PYTHON if "with Client(" in text]
SNIPPETS = [text for text in PYTHON if ".run(" not in text and text not in BLOCKING]
URL = "http://127.0.0.1:8080"


def compiled(text: str) -> CodeType:
    """A snippet, which may await as if it stood in a coroutine."""
    found: CodeType = compile(text, "docs/rpc.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return found


async def execute(text: str, names: dict[str, Any]) -> None:
    result = eval(compiled(text), names)  # noqa: S307  our own page
    if inspect.isawaitable(result):
        await result


@contextmanager
def inside(folder: Path, monkeypatch: Any) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        yield


async def test_its_code_runs(tmp_path: Path, monkeypatch: Any) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    async with live_service(tmp_path / "data", database, dev_login=True) as service:
        first, second = (text.replace(URL, service.url) for text in PROGRAMS)
        responder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", first, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        assert responder.stdout is not None
        try:
            assert await asyncio.wait_for(responder.stdout.readline(), 20) == b"ready\n"
            caller = await asyncio.create_subprocess_exec(
                sys.executable, "-c", second, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
            )
            printed, _ = await asyncio.wait_for(caller.communicate(), 20)
            assert [printed.decode()] == [text for kind, text in BLOCKS if kind == "text"]
            assert len(BLOCKING) == 2
            for text in BLOCKING:
                await blocking(text.replace(URL, service.url))
        finally:
            responder.terminate()
            await responder.communicate()
        assert responder.returncode == 0
        with inside(tmp_path, monkeypatch):
            await snippets(service.url)


async def blocking(text: str) -> None:
    """A program that ends by itself."""
    program = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", text)
    try:
        assert await asyncio.wait_for(program.wait(), 30) == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def snippets(url: str) -> None:
    login: dict[str, Any] = {"method": "dev", "token": "bob@example.com"}
    arguments, calls, handlers, serving, errors = SNIPPETS
    async with AsyncClient(url, **login) as client, AsyncClient(url, **login) as other:
        names: dict[str, Any] = {"client": client}
        await execute(arguments, names)
        await execute(handlers, names)
        await execute(serving, names)
        app = names["service"]
        task = asyncio.create_task(app.serve(other))
        await app.ready()
        await execute(calls, names)
        await execute(errors, names)
        await app.stop()
        await task


def test_its_tables_name_what_there_is() -> None:
    named = set(re.findall(r"`(\w+)", PAGE))
    errors = {
        name
        for name, thing in vars(authsvc.rpc).items()
        if isinstance(thing, type) and issubclass(thing, RpcError)
    }
    assert errors <= named
    for stats in (ClientStats(), ServiceStats()):
        assert set(stats.as_dict()) <= named
