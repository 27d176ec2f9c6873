"""A client's middleware around ``stream`` and httpx transports, in both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest

from authsvc.claims import format_creds
from authsvc.rpc import (
    AsyncClient,
    Client,
    Disconnected,
    NoResponder,
    Outgoing,
    Peer,
    RemoteError,
    Request,
    Response,
    Retry,
    Service,
)
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc._messages.middleware import ProceedCall
from authsvc.rpc._messages.trace import TraceContext, within
from tests.rpc.conftest import Eventually, People
from tests.rpc.test_streams import BIG, echo, pieces_of

Layer = Callable[[Outgoing, ProceedCall], Awaitable[Response]]


def noting(seen: list[Any]) -> Layer:
    async def note(call: Outgoing, proceed: ProceedCall) -> Response:
        seen.append((call.method, call.path, call.content, call.body is not None, call.idempotent))
        response = await proceed(call.with_headers({"x-layer": "1"}))
        seen.append((response.status, response.streamed))
        return response

    return note


async def calling(people: People, service: Service, *layers: Any) -> Peer:
    bob = await people.client("bob")
    await people.serve(service, bob)
    creds = people.kit.user_creds(people.name("alice"))
    alice = await people.made(AsyncClient, creds, middleware=layers)
    return alice.peer(bob.username, service.name)


async def test_a_stream_passes_through(people: People) -> None:
    seen: list[Any] = []
    peer = await calling(people, echo(), noting(seen))
    async with peer.stream("/echo", content=pieces_of(BIG)) as response:
        assert await response.read() == BIG
    assert seen == [("POST", "/echo", b"", True, False), (200, True)]
    seen.clear()
    async with peer.stream("/digest", content=b"abc") as response:
        assert response.status == 200
        assert b"ba7816bf" in await response.read()
    assert seen == [("POST", "/digest", b"abc", False, False), (200, False)]


async def test_what_is_changed_and_answered_by_itself(people: People) -> None:
    async def change(call: Outgoing, proceed: ProceedCall) -> Response:
        if call.path == "/own":
            return Response({"own": True}, status=409)
        assert call.body is not None
        call = call.changed(target="/echo", body=upper(call.body)).with_headers({"x-a": "b"})
        return await proceed(call)

    async def upper(pieces: Any) -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece.upper()

    peer = await calling(people, echo(), change)
    async with peer.stream("/elsewhere", content=pieces_of(b"small" * 10, 7)) as response:
        assert await response.read() == b"SMALL" * 10
    async with peer.stream("/own") as response:
        assert response.status == 409
        assert await response.read() == b'{"own":true}'
        with pytest.raises(RemoteError):
            await response.raise_for_status()
    async with httpx.AsyncClient(transport=peer.transport(), base_url="http://bob") as http:
        own = await http.get("/own")
        assert (own.status_code, own.json()) == (409, {"own": True})


async def test_what_middleware_lets_go_is_closed(people: People, eventually: Eventually) -> None:
    async def twice(call: Outgoing, proceed: ProceedCall) -> Response:
        first = await proceed(call)
        with pytest.raises(AttributeError, match="piece by piece"):
            first.content  # noqa: B018  it is asked for
        if call.path == "/fails":
            raise ZeroDivisionError
        return await proceed(call)

    service = Service("long")
    open_now: set[str] = set()

    async def long(request: Request) -> AsyncIterator[bytes]:
        open_now.add(request.id)
        try:
            while True:
                yield b"x" * 10_000
        finally:
            open_now.discard(request.id)

    for path in ("/long", "/fails"):
        service.on_request(path)(partial(long))
    peer = await calling(people, service, twice)
    async with peer.stream("/long") as response:
        assert await response.read_some()
        await eventually(lambda: len(open_now) == 1)
    await eventually(lambda: not open_now)
    with pytest.raises(ZeroDivisionError):
        async with peer.stream("/fails"):
            pass
    await eventually(lambda: not open_now)


async def test_only_what_is_safe_and_whole_is_sent_again(people: People) -> None:
    tries: list[str] = []

    async def breaking(call: Outgoing, proceed: ProceedCall) -> Response:
        tries.append(call.method)
        if tries.count(call.method) < 3:
            raise Disconnected("broken for a test")
        return await proceed(call)

    service = Service("tries")

    @service.on_request("/", methods=("GET", "POST", "PUT"))
    async def handler(request: Request) -> bytes:
        return request.content

    peer = await calling(people, service, Retry(first=0.001), breaking)
    async with httpx.AsyncClient(transport=peer.transport(), base_url="http://bob") as http:
        assert (await http.get("/")).status_code == 200
        for send in (http.post, http.put):
            with pytest.raises(httpx.ReadError):
                await send("/", content=b"x")
        with pytest.raises(httpx.ReadError):
            await http.request("OPTIONS", "/", content=pieces_of(b"x" * 100, 10))
    assert tries == ["GET"] * 3 + ["POST", "PUT", "OPTIONS"]


async def test_transports_of_both_faces_pass_through(people: People) -> None:
    seen: list[Any] = []
    peer = await calling(people, echo(), noting(seen))
    async with httpx.AsyncClient(transport=peer.transport(), base_url="http://bob") as http:
        assert (await http.post("/echo", content=pieces_of(BIG))).content == BIG
        nobody = people.clients[-1].peer("nobody@example.com", "x").transport()
        with pytest.raises(httpx.ConnectError) as caught:
            await nobody.handle_async_request(http.build_request("GET", "/"))
        assert isinstance(caught.value.__cause__, NoResponder)
    assert seen[:2] == [("POST", "/echo", b"", True, False), (200, True)]
    seen.clear()
    creds = people.kit.user_creds(people.name("carol"))

    def block() -> bytes:
        login: dict[str, Any] = {"creds": format_creds(creds.jwt, creds.key)}
        with Client(**login, servers=[people.kit.url], middleware=[noting(seen)]) as client:
            other = client.peer(peer.name, peer.app)
            with httpx.Client(transport=other.transport(), base_url="http://bob") as http:
                found = http.post("/echo", content=b"abc").content
            with other.stream("/echo", content=[b"d", b"ef"]) as response:
                return found + response.read()

    assert await in_thread(block) == b"abcdef"
    assert [one[2] for one in seen if len(one) > 2] == [b"abc", b""]


async def test_trace_context_goes_with_streams(people: People) -> None:
    service = Service("traced")

    @service.on_request("/")
    async def handler(request: Request) -> str:
        return request.headers.get("traceparent", "none")

    peer = await calling(people, service)
    with within(TraceContext("1" * 32, "2" * 16, 1, "")):
        async with peer.stream("/") as response:
            found = (await response.read()).decode()
    assert found.split("-")[1] == "1" * 32
