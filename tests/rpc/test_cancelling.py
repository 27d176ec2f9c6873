"""A requester that gives up: its handler is cancelled, and nobody else's."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc import subjects
from authsvc.errors import InvalidMessage
from authsvc.rpc import DeadlineExceeded, Peer, Request, Service
from authsvc.rpc._responder.cancelling import cancel_bytes, decode_cancel
from authsvc.rpc._wire.frames import decode_request, decode_response
from tests.rpc.conftest import Eventually, People
from tests.rpc.test_service import pair

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cancel.json").read_text())


class Slow:
    """A service whose handler waits until it is cancelled or released."""

    def __init__(self, name: str = "slow", **options: Any) -> None:
        self.service = Service(name, **options)
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.finished: list[str] = []
        self.release = asyncio.Event()
        self.service.on_request("/")(self.handle)
        self.service.on_request("/to-the-end", cancellable=False)(self.handle)

    async def handle(self, request: Request) -> str:
        self.begun.append(request.id)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.id)
            raise
        self.finished.append(request.id)
        return "done"


async def begin(peer: Peer, slow: Slow, eventually: Eventually, path: str = "/") -> Any:
    before = len(slow.begun)
    task = asyncio.create_task(peer.call(path, timeout=20))
    await eventually(lambda: len(slow.begun) == before + 1)
    return task


async def give_up(task: Any) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_call_cancels_its_handler_alone(
    people: People, eventually: Eventually
) -> None:
    slow = Slow()
    peer = await pair(people, slow.service)
    tasks = [await begin(peer, slow, eventually) for _ in range(3)]
    await give_up(tasks[1])
    await eventually(lambda: slow.service.stats.cancelled == 1)
    assert slow.cancelled == [slow.begun[1]]
    slow.release.set()
    assert [(await tasks[place]).text for place in (0, 2)] == ["done", "done"]
    assert slow.service.stats.responses == 2
    # Nothing is left over for the next request of the same worker.
    assert (await peer.call("/")).text == "done"


async def test_a_call_whose_time_is_over_cancels_its_handler(
    people: People, eventually: Eventually
) -> None:
    slow = Slow()
    peer = await pair(people, slow.service)
    with pytest.raises(DeadlineExceeded):
        await peer.call("/", timeout=0.2)
    await eventually(lambda: slow.service.stats.cancelled == 1)
    assert slow.cancelled == slow.begun


async def test_what_has_not_begun_does_not_begin(people: People, eventually: Eventually) -> None:
    slow = Slow(concurrency=1)
    peer = await pair(people, slow.service)
    first = await begin(peer, slow, eventually)
    waiting = asyncio.create_task(peer.call("/", timeout=20))
    await eventually(lambda: slow.service.stats.requests == 2)
    await give_up(waiting)
    # The same connection and the same reader: it has heard of it once it has this one.
    last = asyncio.create_task(peer.call("/", timeout=20))
    await eventually(lambda: slow.service.stats.requests == 3)
    slow.release.set()
    assert (await first).text == (await last).text == "done"
    assert slow.service.stats.cancelled == 1
    assert len(slow.begun) == 2


async def test_a_handler_may_finish_and_plain_functions_always_do(
    people: People, eventually: Eventually
) -> None:
    slow, release, left = Slow(), threading.Event(), []

    @slow.service.on_request("/plain")
    def plain(request: Request) -> None:
        slow.begun.append(request.id)
        release.wait(20)
        left.append(request.remaining())

    peer = await pair(people, slow.service)
    for path in ("/to-the-end", "/plain"):
        await give_up(await begin(peer, slow, eventually, path))
    assert (await peer.call("/none")).status == 404  # the cancellations have come before it
    assert slow.service.in_flight == 2  # what runs in a thread counts until it ends
    release.set()
    slow.release.set()
    await eventually(lambda: slow.service.in_flight == 0)
    assert left == [0.0]
    assert slow.finished == slow.begun[:1]
    assert (slow.cancelled, slow.service.stats.cancelled) == ([], 0)


async def test_a_handler_that_swallows_it_leaves_nothing_behind(
    people: People, eventually: Eventually
) -> None:
    service, states = Service("deaf", concurrency=1), []

    @service.on_request("/deaf")
    async def deaf() -> str:
        states.append("begun")
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            states.append("swallowed")
        return "all the same"

    @service.on_request("/next")
    async def following() -> int:
        task = asyncio.current_task()
        assert task is not None
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        return task.cancelling()

    peer = await pair(people, service)
    task = asyncio.create_task(peer.call("/deaf"))
    await eventually(lambda: states == ["begun"])
    await give_up(task)
    assert (await peer.call("/next", timeout=5)).json() == 0
    assert states == ["begun", "swallowed"]


async def test_it_reaches_the_instance_that_has_the_request(
    people: People, eventually: Eventually
) -> None:
    bob = await people.client("bob")
    slows = [Slow("shared") for _ in range(3)]
    for number, slow in enumerate(slows):
        await people.serve(slow.service, bob if not number else await people.client("bob"))
    peer = (await people.client("alice")).peer(bob.username, "shared")
    tasks = [asyncio.create_task(peer.call("/", timeout=20)) for _ in range(12)]
    await eventually(lambda: sum(len(slow.begun) for slow in slows) == 12)
    for task in tasks:
        await give_up(task)
    await eventually(lambda: sum(slow.service.stats.cancelled for slow in slows) == 12)
    for slow in slows:
        assert sorted(slow.cancelled) == sorted(slow.begun)


async def test_nobody_can_cancel_what_others_asked_for(
    people: People, eventually: Eventually
) -> None:
    slow = Slow()
    peer = await pair(people, slow.service)
    task = await begin(peer, slow, eventually)
    mallory = people.name("mallory")
    raw = await people.kit.connect(mallory)
    bob = people.name("bob")
    own = subjects.Request(mallory, bob, "slow").text
    theirs = subjects.Request(people.name("alice"), bob, "slow").text
    await raw.publish(own + ".cancel", cancel_bytes(slow.begun[0]))
    await raw.publish(theirs + ".cancel", cancel_bytes(slow.begun[0]))  # refused by nats-server
    for data in (b"", b"{}", b"+ACK", cancel_bytes(slow.begun[0])[:-2]):
        await raw.publish(own + ".cancel", data)
    await raw.flush()
    await eventually(lambda: slow.service.stats.malformed == 4)
    assert not slow.cancelled
    slow.release.set()
    assert (await task).text == "done"
    assert slow.service.stats.cancelled == 0


async def test_narrowed_credentials_call_and_serve_without_it(
    people: People, eventually: Eventually
) -> None:
    slow = Slow("narrow")
    bob = await people.client("bob", app="narrow")
    await people.serve(slow.service, bob)
    alice = await people.client("alice", app="narrow")
    peer = alice.peer(bob.username, "narrow")
    await give_up(await begin(peer, slow, eventually))
    assert alice.stats.cancelled == 0
    slow.release.set()
    assert (await peer.call("/")).text == "done"
    assert slow.finished == slow.begun


async def test_calls_that_end_well_send_nothing_more(people: People) -> None:
    service = Service("well")

    @service.on_request("/")
    async def well() -> None: ...

    alice = await people.client("alice")
    bob = await people.client("bob")
    await people.serve(service, bob)
    raw = await people.kit.connect(people.name("bob"))
    heard = await raw.subscribe(f"requests.*.{subjects.token(bob.username)}.well.>")
    await raw.flush()
    peer = alice.peer(bob.username, "well")
    for _ in range(20):
        await peer.call("/")
    await raw.flush()
    assert (heard.pending_msgs, alice.stats.cancelled) == (0, 0)


@given(st.text("0123456789abcdef", min_size=32, max_size=32))
def test_cancellations_round_trip(request_id: str) -> None:
    assert decode_cancel(cancel_bytes(request_id)) == request_id


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(b"AUTHSVC/1 cancel ".__add__)))
def test_any_bytes_are_one_or_an_error(data: bytes) -> None:
    with pytest.raises(InvalidMessage):
        decode_cancel(data)


@pytest.mark.parametrize("vector", VECTORS["cancellations"], ids=lambda v: v["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    data = base64.b64decode(vector["bytes"])
    assert cancel_bytes(vector["id"]) == data
    assert decode_cancel(data) == vector["id"]
    for decode in (decode_request, decode_response):
        with pytest.raises(InvalidMessage):
            decode(data)


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["name"])
def test_invalid_vectors(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage):
        decode_cancel(base64.b64decode(vector["bytes"]))
