"""docs/stored.md: its code runs against the whole service, its tables name what there is."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

from authsvc.rpc import AsyncClient, Future, Service
from tests.fixtures.authsvc import live_service
from tests.rpc.test_docs import execute

PAGE = (Path(__file__).parents[2] / "docs" / "stored.md").read_text("utf-8")
SERVING, SUBMITTING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_its_code_runs(tmp_path: Path, capsys: Any) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    login: dict[str, Any] = {"method": "dev"}
    async with (
        live_service(tmp_path / "data", database, dev_login=True) as service,
        AsyncClient(service.url, token="bob@example.com", **login) as bob,
        AsyncClient(service.url, token="alice@example.com", **login) as alice,
    ):
        names: dict[str, Any] = {"client": alice}
        await execute(SERVING, names)
        app = names["service"]
        task = asyncio.create_task(app.serve(bob))
        await app.ready()
        capsys.readouterr()
        await execute(SUBMITTING, names)
        assert "bob keeps no requests for that app\n" in capsys.readouterr().out
        await app.stop()
        await task


def test_it_names_what_there_is() -> None:
    public = {name for name, _ in inspect.getmembers(Future) if not name.startswith("_")}
    named = set(re.findall(r"(\w+)(?:\(\w*\))?`", PAGE))
    assert public <= named
    assert {"offline", "ordered"} <= set(inspect.signature(Service).parameters)
