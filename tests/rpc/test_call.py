"""A call, from one person's client to another's app."""

from __future__ import annotations

import time

import pytest

from authsvc.rpc import NoResponder, Request, Service
from tests.rpc.conftest import People


def echo(name: str = "echo") -> Service:
    service = Service(name)

    @service.on_request("/echo")
    async def answer(request: Request) -> dict[str, object]:
        return {"from": request.requester, "body": request.text, "app": request.app}

    return service


async def test_a_call_reaches_the_app_and_names_its_caller(people: People) -> None:
    alice, bob = await people.client("alice"), await people.client("bob")
    await people.serve(echo(), bob)
    response = await alice.peer(bob.username, "echo").call("/echo", content="hello", timeout=5)
    assert response.status == 200
    assert response.json() == {"from": people.name("alice"), "body": "hello", "app": "echo"}
    assert response.headers["content-type"] == "application/json"


async def test_nobody_there_is_known_at_once(people: People) -> None:
    alice = await people.client("alice")
    start = time.monotonic()
    with pytest.raises(NoResponder):
        await alice.peer(people.name("nobody"), "echo").call("/echo", timeout=10)
    assert time.monotonic() - start < 1
