"""Users by the file, over real HTTP, on both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlmodel import col

from authsvc.server.api.admin import imports
from authsvc.server.models import AuditEvent, Grant, User
from tests.fixtures.authsvc import LiveService, StartService

PATH = "/v1/admin/users:import"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


def file_of(names: Iterable[str]) -> bytes:
    return b"".join(json.dumps({"username": name}).encode() + b"\n" for name in names)


async def send(service: LiveService, content: Any, **kw: Any) -> list[dict[str, Any]]:
    answer = await service.admin("POST", PATH, "users:write", content=content, **kw)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def count(service: LiveService) -> int:
    """How many users there are, each with its audit event."""
    created = col(AuditEvent.action) == "user.create"
    async with service.running.database.reading() as session:
        users = await session.scalar(select(func.count()).select_from(User))
        events = await session.scalar(select(func.count()).select_from(AuditEvent).where(created))
    assert users == events
    return int(users or 0)


async def wait_for(service: LiveService, users: int) -> None:
    while await count(service) < users:  # noqa: ASYNC110 - another connection's doing
        await asyncio.sleep(0.01)


async def test_each_line_has_its_result(service: LiveService) -> None:
    async with service.running.database.writing() as session:
        publish = [f"topic.number.{n:04}.>" for n in range(200)]
        session.add(Grant(id="grt_1", role="huge", publish=publish, created_by="k", created_at=1))
    lines = [
        b'\xef\xbb\xbf{"username":"Alice@Example.com","roles":["a"],"max_payload":4096}\r',
        b"",
        b'{"username":"robot","kind":"service"}',
        b'{"username":"robot"}',
        b'{"username":"alice@example.com"}',
        b"not json",
        b'{"username":"a@x.com","username":"b@x.com"}',
        b'{"username":"c@x.com","secret":"hunter2"}',
        b'"' + b"x" * imports.MAX_LINE_BYTES + b'"',
        b'{"username":"d@x.com","roles":["huge"]}',
        b'{"username":"e\\u0000@x.com"}',
        b'{"username":"last@x.com"}',
    ]
    found = await send(service, b"\n".join(lines))
    assert [it["line"] for it in found] == [1, *range(3, 13)]
    assert [it["status"] for it in found] == [
        *("created", "created", "invalid", "exists"),
        *["invalid"] * 6,
        "created",
    ]
    assert [it["username"] for it in found if it["username"]] == [
        *("alice@example.com", "robot", "alice@example.com", "last@x.com")
    ]
    assert found[3]["id"] == found[0]["id"]
    errors = [it["error"] for it in found if it["status"] == "invalid"]
    for error, part in zip(
        errors,
        ("service", "JSON", "twice", "secret: Extra", "bytes", "3500", "U+0000"),
        strict=True,
    ):
        assert part in error, error
        assert "hunter2" not in error
    alice = (await service.admin("GET", "/v1/admin/users/alice@example.com")).json()
    assert (alice["id"], alice["roles"], alice["max_payload"]) == (found[0]["id"], ["a"], 4096)
    async with service.running.database.reading() as session:
        created = col(AuditEvent.action) == "user.create"
        events = list(await session.scalars(select(AuditEvent).where(created)))
    assert sorted(it.details["username"] for it in events) == [
        *("alice@example.com", "last@x.com", "robot")
    ]
    assert {it.actor_kind for it in events} == {"api_key"}
    assert len({it.request_id for it in events}) == 1


async def test_a_file_may_be_sent_again(service: LiveService) -> None:
    names = [f"user{n}@example.com" for n in range(1300)]
    first = await send(service, file_of(names[:1000]))
    if not service.running.database.is_sqlite:
        async with service.running.database.reading() as session:
            seen = await session.scalar(
                text("SELECT reltuples FROM pg_class WHERE relname = 'users'")
            )
        assert seen == 1000, "PostgreSQL plans as if there were none"
    headers = {"Idempotency-Key": "again"}
    second = await send(service, file_of(names), headers=headers)
    assert [it["status"] for it in second] == ["exists"] * 1000 + ["created"] * 300
    assert [it["id"] for it in second[:1000]] == [it["id"] for it in first]
    third = await send(service, file_of(names), headers=headers)
    assert {it["status"] for it in third} == {"exists"}
    assert await count(service) == 1300
    both = await asyncio.gather(
        *(
            send(service, file_of(f"b{n}@x.com" for n in order))
            for order in (range(1200), range(1199, -1, -1))
        )
    )
    assert all(it["status"] in {"created", "exists"} for found in both for it in found)
    made = [it["username"] for found in both for it in found if it["status"] == "created"]
    assert sorted(made) == sorted(f"b{n}@x.com" for n in range(1200))
    assert await send(service, b"\n\n") == []


async def test_results_come_while_the_body_is_sent(service: LiveService) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", service.settings.port, limit=1 << 20
    )
    key = await service.api_key("users:write")
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

    async def part(content: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(content), content))
        await writer.drain()

    await part(file_of(["one@x.com"]))
    async with asyncio.timeout(10):
        await reader.readuntil(b'"username":"one@x.com"')
    # Hung up in the middle: three whole batches, and nothing of the one that was begun.
    await part(file_of(f"many{n}@x.com" for n in range(3 * imports.BATCH_LINES + 7)))
    async with asyncio.timeout(20):
        await reader.readuntil(f'"many{3 * imports.BATCH_LINES - 1}@x.com"'.encode())
    await part(b'{"username":"half')
    writer.close()
    await writer.wait_closed()
    before = -1
    while before != (before := await count(service)):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.5)
    # The seven are there only if the machine took its time and they counted as a pause.
    assert before in {1 + 3 * imports.BATCH_LINES, 1 + 3 * imports.BATCH_LINES + 7}


@pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
async def test_a_client_that_reads_nothing_before_the_end(service: LiveService) -> None:
    """More results than the sockets between hold; httpx first sends all of the body."""
    invalid = b"0\n" * 150_000

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, len(invalid), 1 << 16):
            yield invalid[start : start + (1 << 16)]

    key = await service.api_key("users:write")
    found = await service.http.post(
        PATH, content=body(), headers={"Authorization": f"Bearer {key}"}, timeout=60
    )
    assert found.text.count("\n") == 150_000
    assert len(found.content) > 10_000_000


@pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
async def test_bounds(service: LiveService, monkeypatch: pytest.MonkeyPatch) -> None:
    content = file_of(f"user{n}@example.com" for n in range(500))

    async def twice() -> AsyncIterator[bytes]:
        yield content
        await wait_for(service, 500)
        yield content

    monkeypatch.setattr(imports, "MAX_BYTES", len(content) + 10)
    found = await send(service, twice())
    assert [it["status"] for it in found] == ["created"] * 500 + ["failed"]
    assert found[-1]["line"] == 501
    assert "bytes" in found[-1]["error"]
    monkeypatch.setattr(imports, "MAX_BYTES", 100)
    refused = await service.admin("POST", PATH, content=twice())
    assert refused.status_code == 413
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    length = imports.BODY_BOUNDS[PATH] + 1
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
    assert b"413" in await reader.readline()
    writer.close()
    await writer.wait_closed()
    monkeypatch.undo()
    monkeypatch.setattr(imports, "MAX_LINES", 900)
    found = await send(service, content * 2)
    assert [it["status"] for it in found] == ["exists"] * 500 + ["failed"]
    other = await service.admin("POST", "/v1/admin/users", content=b" " * 70_000)
    assert other.status_code == 413


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_database_that_fails(start_service: StartService) -> None:
    """At the first batch: 503. Later: the last line says so, and what was answered is kept."""
    service = await start_service()
    async with service.running.database.writing() as session:
        await session.execute(text("ALTER TABLE audit_events RENAME TO gone"))
    answer = await service.admin("POST", PATH, content=file_of(["a@x.com"]))
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:authsvc:problem:store-unavailable"
    async with service.running.database.writing() as session:
        await session.execute(text("ALTER TABLE gone RENAME TO audit_events"))

    async def body() -> AsyncIterator[bytes]:
        yield file_of(f"user{n}@x.com" for n in range(500))
        await wait_for(service, 500)
        async with service.running.database.writing() as session:
            await session.execute(text("ALTER TABLE audit_events RENAME TO gone"))
        yield file_of(f"user{n}@x.com" for n in range(490, 600))

    found = await send(service, body())
    assert [it["status"] for it in found] == ["created"] * 500 + ["failed"]
    assert "send what is missing again" in found[-1]["error"]
    async with service.running.database.writing() as session:
        await session.execute(text("ALTER TABLE gone RENAME TO audit_events"))
    assert await count(service) == 500
    missing = await service.admin("GET", "/v1/admin/users/a@x.com")
    assert missing.status_code == 404
