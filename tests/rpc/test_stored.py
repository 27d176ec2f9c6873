"""Stored requests: either side may be away, and each process may end in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from authsvc.rpc import Expired, Request, Service
from tests.rpc.conftest import Eventually, People
from tests.rpc.mailboxes import Post


def counting(name: str = "count", **options: Any) -> tuple[Service, list[str]]:
    """A service and the bodies that it handled."""
    service, handled = Service(name, offline=True, **options), list[str]()

    @service.on_request("/n")
    async def answer(request: Request) -> dict[str, object]:
        handled.append(request.text)
        return {"n": request.text, "from": request.requester}

    return service, handled


@pytest.fixture
async def post(people: People) -> Post:
    return await Post.open(people)


async def ends_well(
    post: Post, people: People, *, requester_away: bool, responder_away: bool
) -> None:
    alice, bob = people.name("alice"), people.name("bob")
    await post.requests(bob, "count")
    await post.responses(alice)
    service, handled = counting()
    if not responder_away:
        await people.serve(service, await people.client("bob"))
    client = await people.client("alice")
    future = await client.peer(bob, "count").submit("/n", content="1", expires="1h")
    if requester_away:
        await client.close()
    if responder_away:
        assert not handled
        await people.serve(service, await people.client("bob"))
    await post.emptied(bob)
    if requester_away:
        future = (await people.client("alice")).future(future.id)
    response = await future.result(timeout=10)
    assert response.json() == {"n": "1", "from": alice}
    assert await future.done()
    assert handled == ["1"]
    assert (service.stats.stored, service.stats.responses) == (1, 1)


@pytest.mark.parametrize("responder_away", [False, True], ids=["responder here", "responder away"])
@pytest.mark.parametrize("requester_away", [False, True], ids=["requester here", "requester away"])
async def test_whoever_is_away(
    post: Post, people: People, *, requester_away: bool, responder_away: bool
) -> None:
    await ends_well(post, people, requester_away=requester_away, responder_away=responder_away)
