"""Whether the service says in time that it can't do its work."""

from __future__ import annotations

import asyncio
import time

from tests.fixtures.authsvc import LiveService


async def _until(service: LiveService, status: int, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while (await service.http.get("/readyz")).status_code != status:
        assert time.monotonic() < limit, f"/readyz is not {status} after {seconds} s"
        await asyncio.sleep(0.05)


async def test_readyz_misses_nats_server_at_once(service: LiveService) -> None:
    await _until(service, 200, 10)
    await service.supervisor.stop()
    await _until(service, 503, 3)
    answer = await service.http.get("/readyz")
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()["reasons"]) == {"nats"}
    assert (await service.http.get("/healthz")).status_code == 200
    await service.supervisor.start()
    await _until(service, 200, 20)
