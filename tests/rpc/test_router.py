"""Routers, and what handlers get besides the request: dataclasses, and the service itself."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from authsvc.rpc import Request, Router, Service
from tests.rpc.conftest import People
from tests.rpc.test_service import pair


@dataclass
class Ping:
    message: str
    at: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    count: int = 1


class Box(Service):
    greeting = "hello"


async def test_a_routers_handlers_are_answered_under_its_prefix(people: People) -> None:
    inner, router, service = Router(), Router(), Service("routed")

    @inner.on_request("/deep", methods=["GET", "POST"])
    async def deep(request: Request) -> str:
        return request.path

    @router.on_request("/shallow")
    def shallow(request: Request) -> str:
        return request.path

    router.include_router(inner, prefix="/inner/")
    service.include_router(router)
    service.include_router(router, prefix="/v1")
    with pytest.raises(ValueError, match="has a handler already"):
        service.include_router(router, prefix="/v1")
    Service("another").include_router(router)

    @router.on_request("/later")
    async def later() -> None:
        """Too late: it was included."""

    peer = await pair(people, service)
    for prefix in ("", "/v1"):
        for path in ("/shallow", "/inner/deep"):
            assert (await peer.call(prefix + path)).text == prefix + path
    assert (await peer.call("/inner/deep", method="GET")).status == 200
    assert (await peer.call("/shallow", method="GET")).status == 405
    assert (await peer.call("/later")).status == 404
    assert (await peer.call("/deep")).status == 404


async def test_who_may_call_is_said_in_the_router(people: People) -> None:
    router, service = Router(), Service("guarded")

    @router.on_request("/named", allow=(name for name in [people.name("alice")]))
    async def named() -> str:
        return "named"

    @router.on_request("/nobody", allow=lambda _name: False)
    async def nobody() -> str:
        return "nobody"

    service.include_router(router, prefix="a")
    service.include_router(router, prefix="b")
    peer = await pair(people, service)
    for prefix in "ab":
        assert (await peer.call(f"{prefix}/named")).text == "named"
        assert (await peer.call(f"{prefix}/nobody")).status == 403


def test_what_a_router_cannot_take_is_told() -> None:
    router = Router()
    with pytest.raises(ValueError, match="no query"):
        router.on_request("/a?b")(print)
    with pytest.raises(ValueError, match="methods="):
        router.on_request("/a", methods=())(print)

    @router.on_request("/a")
    def wrong(number: int) -> None: ...

    with pytest.raises(TypeError, match="'number'"):
        Service("s").include_router(router)


async def test_a_dataclass_is_validated_by_pydantic(people: People) -> None:
    service = Service("dataclasses")

    @service.on_request("/")
    async def ping(ping: Ping) -> Ping:
        return Ping(ping.message * 2, ping.at, ping.count + 1)

    peer = await pair(people, service)
    answer = await peer.call("/", json={"message": "a", "at": "2026-02-03T00:00:00Z"})
    assert answer.json() == {"message": "aa", "at": "2026-02-03T00:00:00+00:00", "count": 2}
    for wrong in (b"{}", b'{"message":1}', b'{"message":"a","count":"x"}', b"[]"):
        assert (await peer.call("/", content=wrong)).status == 422


async def test_a_dataclass_is_built_where_pydantic_is_not(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    service = Service("plain")

    @service.on_request("/")
    async def ping(ping: Ping) -> str:
        return ping.message

    peer = await pair(people, service)
    assert (await peer.call("/", json={"message": "a"})).text == "a"
    for wrong in (b"{}", b'{"message":"a","more":1}', b"[]"):
        assert (await peer.call("/", content=wrong)).status == 422


async def test_a_handler_gets_the_service_that_it_belongs_to(people: People) -> None:
    router, service = Router(), Box("box")

    @router.on_request("/box")
    async def of_box(box: Box, body: str) -> str:
        return f"{box.name} {box.greeting} {body}"

    @router.on_request("/service")
    def of_service(service: Service) -> str:
        return service.name

    service.include_router(router)
    with pytest.raises(TypeError, match="'box'"):
        Service("no-box").include_router(router)
    peer = await pair(people, service)
    assert (await peer.call("/box", content="you")).text == "box hello you"
    assert (await peer.call("/service")).text == "box"
