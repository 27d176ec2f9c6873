"""Structured logs: fields in each record, and nothing of what travels."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from authsvc.rpc import (
    AsyncClient,
    NoResponder,
    Service,
    log_calls,
    log_requests,
)
from tests.rpc.conftest import Eventually, People

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def of(caplog: pytest.LogCaptureFixture, **wanted: Any) -> list[logging.LogRecord]:
    return [
        record
        for record in caplog.records
        if all(getattr(record, name, None) == value for name, value in wanted.items())
    ]


async def test_requests_and_calls_leave_one_record_each(
    people: People, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    caplog.set_level(logging.INFO, "authsvc.rpc")
    service = Service("logged", middleware=[log_requests])

    @service.on_request("/ok")
    async def ok(body: str) -> str:
        return body

    @service.on_request("/fails")
    async def fails() -> None:
        raise ValueError("reason")

    @service.on_request("/waits")
    async def waits() -> None:
        await asyncio.sleep(20)

    bob = await people.client("bob")
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, middleware=[log_calls])
    peer = alice.peer(bob.username, "logged")
    response = await peer.call(
        "/ok?secret=1", content="secret", headers={"traceparent": PARENT, "x": "secret"}
    )
    (record,) = of(caplog, requester=alice.username, status=200)
    assert record.name == "authsvc.rpc"
    wanted = {"app": "logged", "method": "POST", "path": "/ok", "request_id": response.id}
    assert vars(record).items() >= wanted.items()
    assert vars(record)["trace_id"] == PARENT[3:35]
    assert vars(record)["seconds"] >= 0
    (record,) = of(caplog, responder=bob.username, status=200)
    assert vars(record).items() >= {"app": "logged", "path": "/ok"}.items()
    await peer.call("/fails", headers={"traceparent": PARENT})
    (record,) = of(caplog, requester=alice.username, status="raised")
    (record,) = of(caplog, requester=alice.username, levelname="ERROR")
    failed = {"app": "logged", "path": "/fails", "trace_id": PARENT[3:35]}
    assert vars(record).items() >= failed.items()
    with pytest.raises(NoResponder):
        await alice.peer("nobody@example.com", "logged").call("/x")
    assert of(caplog, responder="nobody@example.com", status="NoResponder")
    waiting = asyncio.create_task(peer.call("/waits"))
    await eventually(lambda: service.in_flight)
    waiting.cancel()
    await eventually(lambda: service.stats.cancelled == 1)
    assert of(caplog, responder=bob.username, path="/waits", status="cancelled")
    assert "secret" not in " ".join(str(vars(record)) for record in caplog.records)
