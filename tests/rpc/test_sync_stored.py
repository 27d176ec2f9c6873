"""Stored requests by the blocking client: what is its own; the rest is tested in test_stored.py."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from authsvc.errors import InvalidInput
from authsvc.rpc import (
    Client,
    DeadlineExceeded,
    Disconnected,
    NoResponder,
    RpcError,
    Service,
    SyncFuture,
)
from authsvc.rpc._loops.threads import in_thread
from tests.rpc.conftest import LocalSource, People
from tests.rpc.mailboxes import Post

APP = "kept"


@pytest.fixture
async def clients(people: People) -> AsyncIterator[tuple[Client, Client]]:
    """Two of alice's, who has a mailbox; bob's app keeps requests and is away."""
    post = await Post.open(people)
    await post.requests(people.name("bob"), APP)
    await post.responses(people.name("alice"))
    source = LocalSource(people.kit, people.name("alice"))
    first, second = Client(source=source), Client(source=source)
    try:
        await in_thread(first.connect)
        await in_thread(second.connect)
        yield first, second
    finally:
        await in_thread(first.close)
        await in_thread(second.close)


def answering() -> Service:
    service = Service(APP, offline=True)

    @service.on_request("/n")
    def n(body: str) -> str:
        return body * 2

    return service


async def test_a_future_is_found_again_by_its_id(
    people: People, clients: tuple[Client, Client]
) -> None:
    first, second = clients
    bob = people.name("bob")

    def away() -> SyncFuture:
        future = first.peer(bob, APP).submit("/n", content="1", expires="1h")
        assert not future.done()
        assert repr(future) == f"<SyncFuture {future.id}>"
        with pytest.raises(DeadlineExceeded):
            future.result(timeout=0.05)
        again = second.future(future.id)
        assert (again.id, again.deadline) == (future.id, future.deadline)
        with pytest.raises(DeadlineExceeded):
            again.result(timeout=0.05)
        with pytest.raises(InvalidInput):
            first.future("nonsense")
        with pytest.raises(NoResponder):
            first.submit(f"syft://{bob}/app_data/other/rpc/n", timeout=5)
        return future

    future = await in_thread(away)
    await people.serve(answering(), await people.client("bob"))

    def here() -> None:
        for found in (future, second.future(future.id)):
            assert found.result(timeout=20).text == "11"
            assert found.done()
            assert not found.cancel()
        url = f"syft://{bob}/app_data/{APP}/rpc/n"
        assert first.submit(url, content="2").result(timeout=20).text == "22"

    await in_thread(here)


async def test_what_is_given_up_or_closed_ends_those_who_wait(
    people: People, clients: tuple[Client, Client]
) -> None:
    first, _ = clients

    def check() -> None:
        peer = first.peer(people.name("bob"), APP)
        given_up, left = peer.submit("/n"), peer.submit("/n")
        with ThreadPoolExecutor(2) as pool:
            waits = [pool.submit(future.result, 30) for future in (given_up, left)]
            assert given_up.cancel()
            with pytest.raises(RpcError, match="cancelled"):
                waits[0].result(10)
            first.close()
            with pytest.raises(Disconnected):
                waits[1].result(10)
        with pytest.raises(Disconnected):
            left.result(1)

    await in_thread(check)


async def test_threads_that_ask_for_one_id_hear_of_one_answer(
    people: People, clients: tuple[Client, Client]
) -> None:
    first, second = clients
    future = await in_thread(
        partial(first.peer(people.name("bob"), APP).submit, "/n", content="3", expires="1h")
    )
    barrier = threading.Barrier(9)

    def wait(_: int) -> str:
        barrier.wait(10)
        return second.future(future.id).result(30).text

    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(wait, number) for number in range(8)]
        await in_thread(partial(barrier.wait, 10))
        await people.serve(answering(), await people.client("bob"))
        found = await in_thread(lambda: [it.result(30) for it in waits])
    assert found == ["33"] * 8
