"""A box as syft-event's users write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from authsvc.errors import InvalidInput
from authsvc.rpc._messages.message import Request
from authsvc.rpc._syft.event import EventRouter, Response, SyftEvents
from tests.rpc.conftest import People
from tests.rpc.test_service import pair

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


class Ping(BaseModel):
    msg: str


@dataclass
class Pong:
    msg: str
    sender: str


async def test_a_box_answers_every_method_with_what_is_asked_for(people: People) -> None:
    box = SyftEvents("pingpong")
    box.state["count"] = 0

    @box.on_request("/ping")
    def ping(ping: Ping, ctx: Request, box: SyftEvents) -> Pong:
        box.state["count"] += 1
        return Pong(f"{box.app_name} {ping.msg}", ctx.sender)

    @box.on_request("/dict")
    async def of_dict(body: dict[str, Any], ctx: Request) -> Response:
        return Response(body={"got": body, "raw": ctx.body.decode()}, status_code=201)

    @box.on_request("/narrow", methods=["PUT"])
    async def narrow(text: str) -> Response:
        return Response(text, 202, {"x-a": "b"})

    @box.on_request("/empty")
    async def empty() -> Response:
        return Response(status_code=404)

    peer = await pair(people, box)
    for method in METHODS:
        answer = await peer.call("/ping", method=method, json={"msg": method})
        assert answer.json() == {"msg": f"pingpong {method}", "sender": people.name("alice")}
    assert box.state["count"] == len(METHODS)
    answer = await peer.call("/dict", json={"a": 1})
    assert (answer.status, answer.json()) == (201, {"got": {"a": 1}, "raw": '{"a":1}'})
    assert (await peer.call("/narrow", method="GET")).status == 405
    answer = await peer.call("/narrow", method="PUT", content="t")
    assert (answer.status, answer.text, answer.headers["x-a"]) == (202, "t", "b")
    answer = await peer.call("/empty")
    assert (answer.status, answer.content) == (404, b"")


async def test_a_router_is_included_with_a_prefix(people: People) -> None:
    class Local(BaseModel):
        """Only known here."""

        n: int

    router, box = EventRouter(), SyftEvents("routed", publish_schema=False)

    @router.on_request("/double")
    async def double(local: Local) -> int:
        return local.n * 2

    @box.on_request("/triple")
    async def triple(local: Local) -> int:
        return local.n * 3

    box.include_router(router, prefix="/chat")
    peer = await pair(people, box)
    assert (await peer.call("/chat/double", method="GET", json={"n": 2})).json() == 4
    assert (await peer.call("/triple", json={"n": 2})).json() == 6
    assert (await peer.call("/.well-known/authsvc/schema", method="GET")).status == 404


def test_a_header_that_cannot_travel_is_told() -> None:
    with pytest.raises(InvalidInput):
        Response(headers={"a\n": ""})
