"""Clients and services that are closed, cancelled or cut off: nothing hangs, nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
from collections.abc import AsyncIterator

import pytest

from authsvc.rpc import AsyncClient, DeadlineExceeded, Disconnected, NoResponder, Service
from authsvc.rpc._calls.call import Call
from authsvc.rpc._calls.calls import Calls, ClientStats
from authsvc.rpc._responder import serving as _serving
from authsvc.rpc._session import pings as _pings
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._wire.frames import ResponseFrame, encode_response
from tests.rpc.conftest import Eventually, LocalSource, People
from tests.rpc.faces import Face


@contextlib.asynccontextmanager
async def frozen(people: People) -> AsyncIterator[None]:
    """nats-server takes nothing and answers nothing meanwhile."""
    process = people.kit.server._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    await asyncio.sleep(0.05)  # each of its threads stops
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)


def open_connections(name: str) -> int:
    """How many of them are open under a client's name."""
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
    return sum(not it.is_closed and it.options.get("name") == name for it in found)


async def test_connecting_at_once_makes_one_connection(people: People, face: Face) -> None:
    source = LocalSource(people.kit, people.name("alice"))
    client = face(source=source, name="at once")

    async def connect() -> bool:
        await client.connect()
        return client.session.connection is not None

    assert all(await asyncio.gather(*[connect() for _ in range(3)]))
    assert source.obtained == 1
    assert open_connections("at once") == 1
    await asyncio.gather(client.close(), client.close())
    assert open_connections("at once") == 0


async def test_closing_waits_for_a_connect_that_is_under_way(people: People) -> None:
    client = AsyncClient(source=LocalSource(people.kit, people.name("alice")), name="under way")
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    await client.close()
    await connecting
    assert open_connections("under way") == 0
    with pytest.raises(Disconnected):
        await client.connect()


async def test_a_closing_that_is_cancelled_goes_on(people: People, eventually: Eventually) -> None:
    client = AsyncClient(source=LocalSource(people.kit, people.name("alice")), name="cancelled")
    await client.connect()
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await eventually(lambda: open_connections("cancelled") == 0)
    await client.close()


async def test_closing_frees_what_waits_for_a_connection(
    own: People, eventually: Eventually
) -> None:
    alice = await own.client("alice")
    await asyncio.to_thread(own.kit.server.stop, kill=True)
    await eventually(lambda: alice.session.connection is None)
    call = asyncio.create_task(alice.peer("bob@x.com", "app").call("/", timeout=30))
    service = Service("app")
    serving = asyncio.create_task(service.serve(alice))
    await asyncio.sleep(0.05)
    await alice.close()
    with pytest.raises(Disconnected, match="closed"):
        await asyncio.wait_for(call, 2)
    await asyncio.wait_for(serving, 2)
    with pytest.raises(Disconnected, match="was closed"):
        await service.serve(alice)


async def test_handlers_may_call_while_their_client_closes(
    people: People, eventually: Eventually
) -> None:
    alice, bob, carol = [await people.client(who) for who in ("alice", "bob", "carol")]
    first, second = Service("first"), Service("second")

    @first.on_request("/")
    async def onward(body: str) -> str:
        await asyncio.sleep(0.1)
        return (await bob.peer(carol.username, "second").call("/", content=body)).text

    @second.on_request("/")
    async def back(body: str) -> str:
        return body * 2

    await people.serve(first, bob)
    await people.serve(second, carol)
    call = asyncio.create_task(alice.peer(bob.username, "first").call("/", content="x"))
    await eventually(lambda: first.stats.requests)
    await bob.close()
    assert (await call).text == "xx"


async def test_a_thread_that_never_ends_does_not_hold_the_end(
    people: People, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    monkeypatch.setattr(_serving, "_DRAIN_SECONDS", 0.1)
    service, release = Service("stuck"), threading.Event()

    @service.on_request("/")
    def wait() -> None:
        release.wait(20)

    alice, bob = await people.client("alice"), await people.client("bob")
    serving = await people.serve(service, bob)
    call = asyncio.create_task(alice.peer(bob.username, "stuck").call("/", timeout=0.5))
    await eventually(lambda: service.stats.requests)
    try:
        await asyncio.wait_for(service.stop(), 5)
        await asyncio.wait_for(serving, 5)
    finally:
        release.set()
    with pytest.raises(DeadlineExceeded):
        await call


async def test_deadlines_hold_where_the_server_takes_nothing(own: People, face: Face) -> None:
    alice, bob = await own.caller("alice", face), await own.client("bob")
    await own.serve(Service("idle"), bob)
    peer = alice.peer(bob.username, "idle")
    async with frozen(own):
        start = time.monotonic()
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(peer.call("/", content=b"x" * (4 << 20), timeout=0.2), 3)
        assert time.monotonic() - start < 3
    assert (await peer.call("/", timeout=10)).status == 404


async def test_a_server_that_is_silent_is_waited_for_once(
    own: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pings, "_FINISH_SECONDS", 1)
    bob = await own.client("bob")
    serving = await own.serve(Service("idle"), bob)
    async with frozen(own):
        start = time.monotonic()
        await bob.close()
        await serving
        assert 1 <= time.monotonic() - start < 1.9


async def test_a_barrier_that_is_given_up_leaves_the_connection_alone(people: People) -> None:
    alice = await people.client("alice")
    connection = alice.session.connection
    assert connection is not None
    for _ in range(3):
        barrier = asyncio.create_task(connection.barrier())
        await asyncio.sleep(0)
        barrier.cancel()
        with pytest.raises(asyncio.CancelledError):
            await barrier
    await connection.barrier(5)
    with pytest.raises(NoResponder):
        await alice.peer("nobody@x.com", "app").call("/", timeout=2)


async def test_a_barrier_ends_with_its_connection(own: People) -> None:
    alice = await own.client("alice")
    connection = alice.session.connection
    assert connection is not None
    async with frozen(own):
        barrier = asyncio.create_task(connection.barrier())
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own.kit.server.stop, kill=True)
        with pytest.raises(Disconnected):
            await asyncio.wait_for(barrier, 3)


async def test_what_is_sent_again_is_told_from_what_fails() -> None:
    sent: list[Call] = []

    def send(call: Call) -> bool:
        sent.append(call)
        return True

    calls = Calls(send, ClientStats())
    subject = "requests.a.b.c"
    found = [Call(subject, name, b"", idempotent=name == "again") for name in ("again", "not")]
    futures = [calls.open(call, 5) for call in found]
    calls.disconnected(hold=True)
    calls.resend()
    assert sent == found[:1]
    assert (calls.stats.resent, calls.stats.disconnected) == (1, 1)
    with pytest.raises(Disconnected):
        await futures[1]
    calls.stop()


async def test_an_answer_after_the_deadline_is_none() -> None:
    calls = Calls(lambda _: True, ClientStats())
    frame = ResponseFrame("0" * 32, 419, (), b"")
    call = Call("requests.a.b.c", frame.id, b"", idempotent=False)
    future = calls.open(call, 0.001)
    time.sleep(0.002)  # noqa: ASYNC251  the timer's turn has not come
    calls.receive(call.key, encode_response(frame), None)
    with pytest.raises(DeadlineExceeded):
        await future
    assert (calls.stats.timeouts, calls.stats.responses, len(calls)) == (1, 0, 0)
    calls.stop()


async def test_deadlines_far_away_leave_nothing_behind() -> None:
    calls = Calls(lambda _: True, ClientStats())
    kept = Call("requests.a.b.c", "kept", b"", idempotent=False)
    future = calls.open(kept, 0.05)
    for number in range(20_000):
        call = Call("requests.a.b.c", str(number), b"", idempotent=False)
        calls.open(call, 1000 + number)
        calls.close(call)
    assert len(calls._buckets) < 10_000
    assert len(calls._ticks) < 10_000
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(future, 2)
    calls.stop()
