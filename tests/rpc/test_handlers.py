"""Handlers that block, raise the unusual, or have unusual paths."""

from __future__ import annotations

import asyncio
import threading

import pytest

from authsvc.rpc import Request, Service
from tests.rpc.conftest import Eventually, People
from tests.rpc.test_service import pair


async def test_many_plain_functions_that_block_hold_nobody_up(
    people: People, eventually: Eventually
) -> None:
    service, release = Service("blocked"), threading.Event()

    @service.on_request("/block")
    def block() -> None:
        release.wait(20)

    @service.on_request("/quick")
    def quick() -> str:
        return "quick"

    peer = await pair(people, service)
    blocked = [asyncio.create_task(peer.call("/block")) for _ in range(100)]
    await eventually(lambda: service.stats.requests == 100)
    try:
        assert (await peer.call("/quick", timeout=5)).text == "quick"
    finally:
        release.set()
    await asyncio.gather(*blocked)


async def test_paths_of_any_characters_are_found(people: People) -> None:
    service = Service("paths")

    @service.on_request("grüße an/alle")
    async def path(request: Request) -> str:
        return request.path

    peer = await pair(people, service)
    assert (await peer.call("/grüße an/alle?n=1")).text == "/gr%C3%BC%C3%9Fe%20an/alle"
    with pytest.raises(ValueError, match="no query"):
        service.on_request("/path?n=1")


async def test_whatever_is_raised_is_an_answer(people: People) -> None:
    class Own(BaseException):
        pass

    service = Service("raises", concurrency=1)
    raised = {
        "own": Own("secret"),
        "group": BaseExceptionGroup("secret", [asyncio.CancelledError()]),
        "stop": StopIteration("secret"),
    }

    @service.on_request("/async")
    async def asynchronous(kind: str) -> None:
        raise raised[kind]

    @service.on_request("/plain")
    def plain(kind: str) -> None:
        raise raised[kind]

    peer = await pair(people, service)
    for kind in raised:
        for path in ("/async", "/plain"):
            response = await peer.call(path, content=kind, timeout=2)
            assert response.status == 500
            assert "secret" not in response.text
    assert service.stats.errors == 6
