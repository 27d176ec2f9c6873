"""docs/rpc-more.md: its code runs against the whole service."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from authsvc.rpc import AsyncClient
from tests.fixtures.authsvc import live_service
from tests.rpc.test_docs import execute

PAGE = (Path(__file__).parents[2] / "docs" / "rpc-more.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_its_code_runs(tmp_path: Path) -> None:
    database = f"sqlite+aiosqlite:///{tmp_path}/authsvc.db"
    shop, call, client_side, strict, signed, health = SNIPPETS
    async with live_service(tmp_path / "data", database, dev_login=True) as service:
        login: dict[str, Any] = {"method": "dev", "token": "bob@example.com"}
        names: dict[str, Any] = {"url": service.url}
        async with AsyncClient(service.url, **login) as client, AsyncClient(
            service.url, **login, sign=True
        ) as bob:  # fmt: skip
            names["client"] = client
            for text in (shop, client_side, strict):
                await execute(text, names)
            apps = [names[name] for name in ("shop", "strict")]
            served = [asyncio.create_task(app.serve(bob)) for app in apps]
            for app in apps:
                await app.ready()
            await execute(call, names)
            await execute(signed, names)
            await execute(health, names)
            async with names["caller"] as caller:
                peer = caller.peer("bob@example.com", "shop")
                answer = await peer.call("/order", json={"item": "x"}, idempotent=True)
                assert answer.json() == {"total": 3}
            for app in apps:
                await app.stop()
            await asyncio.gather(*served)
