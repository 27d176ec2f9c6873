"""Handlers that block, raise the unusual, or have unusual paths."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, BaseModel, Field, field_validator
from pydantic_core import PydanticCustomError

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
        "exit": SystemExit("secret"),
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
    assert service.stats.errors == 8


async def test_what_validators_raise_stays_here(people: People) -> None:
    class Checked(BaseModel):
        value: int
        kind: str = ""
        other: str = ""

        @field_validator("value")
        @classmethod
        def check(cls, value: int) -> int:
            assert value != 1, "secret"
            if value == 2:
                raise ValueError("secret")
            if value == 3:
                raise PydanticCustomError("own", "secret")
            return value

    service = Service("checked")

    @service.on_request("/")
    async def checked(body: Checked) -> int:
        return body.value

    peer = await pair(people, service)
    for value in (1, 2, 3):
        response = await peer.call("/", json={"value": value}, timeout=2)
        assert response.status == 422
        assert response.json()["errors"][0]["msg"] == "the value is refused"
        assert "secret" not in response.text
    response = await peer.call("/", json={"value": "x"}, timeout=2)
    assert "valid integer" in response.json()["errors"][0]["msg"]
    assert (await peer.call("/", json={"value": 4}, timeout=2)).json() == 4


async def test_what_lists_and_objects_hold_is_validated(people: People) -> None:
    class Item(BaseModel):
        n: int

    service = Service("hints")

    @service.on_request("/models")
    async def models(body: list[Item]) -> int:
        return sum(item.n for item in body)

    @service.on_request("/numbers")
    def numbers(body: dict[str, int]) -> int:
        return sum(body.values())

    @service.on_request("/annotated")
    async def annotated(body: Annotated[Item, AfterValidator(lambda item: item.n)]) -> Any:
        return body

    peer = await pair(people, service)
    assert (await peer.call("/models", json=[{"n": 1}, {"n": 2}])).json() == 3
    assert (await peer.call("/numbers", json={"a": 1, "b": 2})).json() == 3
    assert (await peer.call("/annotated", json={"n": 7})).json() == 7
    for path, body in (("/models", [{"n": "x"}]), ("/models", [1]), ("/numbers", {"a": []})):
        response = await peer.call(path, json=body)
        assert response.status == 422
        assert response.json()["errors"]


def test_what_cannot_be_validated_is_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service("bare")

    def short(body: Annotated[str, Field(max_length=5)]) -> None: ...

    with pytest.raises(TypeError, match="can ask for"):
        service.on_request("/short")(short)
    monkeypatch.setitem(sys.modules, "pydantic", None)

    def anything(body: dict[str, Any]) -> None: ...

    def numbers(body: list[int]) -> None: ...

    service.on_request("/anything")(anything)
    with pytest.raises(TypeError, match="needs pydantic"):
        service.on_request("/numbers")(numbers)


async def test_threads_are_used_again_and_end(people: People) -> None:
    service = Service("again")
    threads: set[threading.Thread] = set()

    @service.on_request("/")
    def plain() -> None:
        threads.add(threading.current_thread())

    peer = await pair(people, service)
    for _ in range(20):
        await peer.call("/")
    assert len(threads) == 1
    await service.stop()
    thread = threads.pop()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()
