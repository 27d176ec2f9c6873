"""Whether the service says in time that it can't do its work."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest
from sqlalchemy import text, update
from sqlmodel import col

from authsvc.server.models import SigningKey
from tests.fixtures.authsvc import LiveService, StartService


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def _until(service: LiveService, status: int, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while (await service.http.get("/readyz")).status_code != status:
        assert time.monotonic() < limit, f"/readyz is not {status} after {seconds} s"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_readyz_misses_nats_server_at_once(start_service: StartService) -> None:
    service = await start_service()
    await _until(service, 200, 10)
    await service.supervisor.stop()
    await _until(service, 503, 3)
    answer = await service.http.get("/readyz")
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()["reasons"]) == {"nats"}
    assert (await service.http.get("/healthz")).status_code == 200
    await service.supervisor.start()
    await _until(service, 200, 20)


async def test_readyz_misses_a_signing_key(start_service: StartService) -> None:
    service = await start_service()
    await _until(service, 200, 10)
    async with service.running.database.writing() as session:
        await session.execute(
            update(SigningKey).where(col(SigningKey.purpose) == "signing").values(state="retired")
        )
    answer = await service.http.get("/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["reasons"]) == {"keys"}


async def test_readyz_misses_a_database_that_takes_no_writes(start_service: StartService) -> None:
    service = await start_service()
    await _until(service, 200, 10)
    database = service.running.database
    if database.is_sqlite:
        other = sqlite3.connect(str(database._url.database), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = await service.http.get("/readyz")
        other.execute("ROLLBACK")
        other.close()
    else:
        async with database.writing() as session:
            name = await session.scalar(text("select current_database()"))
            setting = "default_transaction_read_only = on"
            await session.execute(text(f'alter database "{name}" set {setting}'))
        await database._writer.dispose()
        answer = await service.http.get("/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["reasons"]) == {"database"}


async def test_the_openapi_document_is_whole(service: LiveService) -> None:
    document = (await service.http.get("/openapi.json")).json()
    schemes = document["components"]["securitySchemes"]
    used = {
        name
        for path in document["paths"].values()
        for operation in path.values()
        for needs in operation.get("security", [])
        for name in needs
    }
    assert used
    assert used <= schemes.keys()
