"""Middleware: the order on both sides, and what it sees and may do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from authsvc.errors import InvalidMessage
from authsvc.rpc import (
    AsyncClient,
    CallMiddleware,
    Middleware,
    NoResponder,
    Outgoing,
    Proceed,
    ProceedCall,
    Request,
    Response,
    Service,
)
from tests.rpc.conftest import People


class Sum(BaseModel):
    a: int


def note(seen: list[Any], name: str) -> Middleware:
    async def noting(request: Request, proceed: Proceed) -> Response:
        seen.append(f"{name} in")
        response = await proceed(request)
        seen.append(f"{name} {response.status}")
        return response

    return noting


def note_call(seen: list[Any], name: str) -> CallMiddleware:
    async def noting(call: Outgoing, proceed: ProceedCall) -> Response:
        seen.append(f"{name} in")
        response = await proceed(call)
        seen.append(f"{name} {response.status}")
        return response

    return noting


async def calling(people: People, service: Service, *middleware: CallMiddleware) -> Any:
    bob = await people.client("bob")
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, middleware=middleware)
    return alice.peer(bob.username, service.name)


async def test_the_first_is_the_outermost_and_sees_what_is_refused(people: People) -> None:
    seen: list[Any] = []
    service = Service("order", middleware=[note(seen, "a")])
    service.use(note(seen, "b"))

    @service.on_request("/model")
    async def model(body: Sum) -> int:
        seen.append("handler")
        return body.a

    @service.on_request("/closed", allow=["carol@example.com"])
    async def closed() -> None:
        seen.append("never")

    peer = await calling(people, service)
    assert (await peer.call("/model", json={"a": 1})).json() == 1
    assert seen == ["a in", "b in", "handler", "b 200", "a 200"]
    for path, status in (("/model", 422), ("/closed", 403), ("/none", 404)):
        seen.clear()
        assert (await peer.call(path, json=[])).status == status
        assert seen == ["a in", "b in", f"b {status}", f"a {status}"]
    assert service.stats.refused == 1


async def test_it_may_answer_itself_and_translate_what_is_raised(people: People) -> None:
    async def guard(request: Request, proceed: Proceed) -> Response:
        if request.headers.get("x-stop"):
            return Response("stopped", status=429)
        try:
            return await proceed(request)
        except KeyError:
            return Response("gone", status=410)

    handled = []
    service = Service("translate", middleware=[guard])

    @service.on_request("/")
    async def handler(kind: str) -> None:
        handled.append(kind)
        raise {"key": KeyError("secret"), "value": ValueError("secret")}[kind]

    peer = await calling(people, service)
    assert (await peer.call("/", content="key")).status == 410
    answer = await peer.call("/", content="value")
    assert (answer.status, "secret" in answer.text) == (500, False)
    assert (await peer.call("/", content="key", headers={"x-stop": "1"})).status == 429
    assert handled == ["key", "value"]
    assert service.stats.errors == 1


async def test_one_that_returns_no_response_is_an_error(people: People) -> None:
    async def forgetful(request: Request, proceed: Proceed) -> Response:
        await proceed(request)
        return None  # type: ignore[return-value]

    async def forgetful_call(call: Outgoing, proceed: ProceedCall) -> Response:
        await proceed(call)
        return None  # type: ignore[return-value]

    service = Service("forgetful", middleware=[forgetful])
    service.on_request("/")(_nothing)
    peer = await calling(people, service)
    assert (await peer.call("/")).status == 500
    plain = Service("plain")
    plain.on_request("/")(_nothing)
    peer = await calling(people, plain, forgetful_call)
    with pytest.raises(TypeError, match="forgetful_call returned"):
        await peer.call("/")


async def _nothing() -> None: ...


async def test_calls_pass_through_in_order_and_may_be_changed(people: People) -> None:
    seen: list[Any] = []

    async def change(call: Outgoing, proceed: ProceedCall) -> Response:
        seen.append((call.name, call.app, call.method, call.path, call.content, call.idempotent))
        call = call.with_headers({"X-Key": "7", "x-old": "new"})
        response = await proceed(call.changed(target=call.target + "?n=1", method="PUT"))
        return Response(response.content + b"!", status=response.status)

    service = Service("calls")

    @service.on_request("/", methods="PUT")
    async def handler(request: Request) -> list[str]:
        return [
            request.query, request.headers["x-key"], request.headers["x-old"],
            request.headers["content-type"],
        ]  # fmt: skip

    peer = await calling(people, service, note_call(seen, "a"), change, note_call(seen, "b"))
    answer = await peer.call("/", json=[1], headers={"x-old": "old"}, idempotent=True)
    assert answer.content == b'["n=1","7","new","application/json"]!'
    wanted = (peer.name, "calls", "POST", "/", b"[1]", True)
    assert seen == ["a in", wanted, "b in", "b 200", "a 200"]
    seen.clear()
    with pytest.raises(NoResponder):
        await (await people.made(
            AsyncClient, people.kit.user_creds(people.name("carol")),
            middleware=[note_call(seen, "c")],
        )).call("syft://nobody@example.com/app_data/calls/rpc/x")  # fmt: skip
    assert seen == ["c in"]


def test_a_header_that_cannot_travel_is_refused_when_it_is_set() -> None:
    headers = Response(b"").headers
    call = Outgoing("bob", "app", "POST", "/", headers, b"", 5.0, idempotent=False)
    with pytest.raises(InvalidMessage):
        call.with_headers({"x": "a\nb"})
