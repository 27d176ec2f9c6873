"""Stored requests go through what live ones go through: middleware, signatures, limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from authsvc.claims import format_creds
from authsvc.errors import InvalidInput
from authsvc.rpc import (
    AsyncClient,
    Client,
    Outgoing,
    Proceed,
    ProceedCall,
    RemoteError,
    Request,
    Response,
    Service,
)
from tests.rpc.conftest import People
from tests.rpc.mailboxes import Post


@pytest.fixture
async def post(people: People) -> Post:
    return await Post.open(people)


async def around(post: Post, people: People, **options: Any) -> tuple[AsyncClient, AsyncClient]:
    await post.requests(people.name("bob"), "count")
    await post.responses(people.name("alice"))
    creds = people.kit.user_creds(people.name("alice"))
    return await people.made(AsyncClient, creds, **options), await people.client("bob")


async def test_middleware_of_both_sides_sees_them(post: Post, people: People) -> None:
    seen: list[Any] = []

    async def note_call(call: Outgoing, proceed: ProceedCall) -> Response:
        response = await proceed(call.with_headers({"x-key": "7"}))
        seen.append((call.path, call.expires, call.idempotent, response.status))
        return response

    async def note(request: Request, proceed: Proceed) -> Response:
        response = await proceed(request)
        seen.append((request.path, request.headers["x-key"], response.status))
        return response

    alice, bob = await around(post, people, middleware=[note_call])
    service = Service("count", offline=True, middleware=[note])

    @service.on_request("/n", limit=1)
    async def answer(body: bytes) -> bytes:
        return body

    peer = alice.peer(bob.username, "count")
    future = await peer.submit("/n", content=b"1", expires=60)
    assert seen == [("/n", 60, False, 202)]
    await people.serve(service, bob)
    assert (await future.result(10)).content == b"1"
    assert (await peer.call("/n", content=b"2")).content == b"2"
    assert seen[1:] == [("/n", "7", 200), ("/n", "7", 200), ("/n", None, False, 200)]


async def test_middleware_that_does_not_go_on_stores_nothing(post: Post, people: People) -> None:
    async def refuse(call: Outgoing, proceed: ProceedCall) -> Response:
        return Response("no", status=429)

    alice, bob = await around(post, people, middleware=[refuse])
    with pytest.raises(RemoteError, match="429"):
        await alice.peer(bob.username, "count").submit("/n")
    assert await post.waiting(bob.username) == 0


async def test_signed_requests_can_be_stored(post: Post, people: People) -> None:
    alice, bob = await around(post, people, sign=True)
    service = Service("count", offline=True, sign=True, require_signed=True)
    handled: list[str] = []

    @service.on_request("/n")
    async def answer(request: Request) -> str:
        handled.append(request.requester)
        return "signed"

    future = await alice.peer(bob.username, "count").submit("/n", content=b"1")
    await people.serve(service, bob)
    response = await future.result(10)
    assert response.text == "signed"
    assert "authsvc-signature" in response.headers
    plain = await people.client("alice")
    future = await plain.peer(bob.username, "count").submit("/n", content=b"1")
    assert (await future.result(10)).status == 403
    assert (handled, service.stats.unsigned) == ([alice.username], 1)


async def test_what_is_not_signed_is_not_taken_for_it(post: Post, people: People) -> None:
    alice, bob = await around(post, people, sign=True, require_signed=True)
    peer = alice.peer(bob.username, "count")
    with pytest.raises(InvalidInput, match="stored requests are not signed"):
        await peer.submit("/n")


async def test_the_sync_face_has_all_of_it(people: People) -> None:
    bob = await people.client("bob")
    service = Service("sync", require_signed=True, sign=True)

    @service.on_request("/")
    async def answer(request: Request) -> str:
        return request.headers["x-key"]

    await people.serve(service, bob)

    async def key(call: Outgoing, proceed: ProceedCall) -> Response:
        return await proceed(call.with_headers({"x-key": "7"}))

    creds = people.kit.user_creds(people.name("alice"))
    made = Client(
        creds=format_creds(creds.jwt, creds.key),
        servers=[people.kit.url],
        middleware=[key],
        sign=True,
        require_signed=True,
    )

    def call() -> str:
        with made as client:
            return client.peer(bob.username, "sync").call("/", timeout=10).text

    assert await asyncio.to_thread(call) == "7"
