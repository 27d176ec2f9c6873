"""The blocking client in threads, in a running event loop, interrupted, closed and left open."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from authsvc.claims import format_creds
from authsvc.errors import InvalidInput
from authsvc.rpc import (
    Client,
    DeadlineExceeded,
    Disconnected,
    NoResponder,
    NotAuthenticated,
    RpcError,
    Service,
    SyncPeer,
)
from authsvc.rpc._loops.loop_thread import LoopThread
from authsvc.rpc._loops.waits import Wait
from tests.fixtures.nats import NatsServer, Realm
from tests.rpc.conftest import LocalSource, People


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Couple:
    """Alice, who calls, and bob, whose service is answered in a thread: no event loop of ours."""

    number = 0

    def __init__(self, realm: Realm, server: NatsServer) -> None:
        Couple.number += 1
        self.realm, self.server = realm, server
        self.begun = threading.Semaphore(0)
        self.release = threading.Event()
        self.service = self._service()
        self.threads: list[threading.Thread] = []
        self.bob = self.client("bob")
        self.alice = self.client("alice")

    def credentials(self, who: str) -> dict[str, Any]:
        creds = self.realm.user_creds(f"{who}{self.number}.sync@example.com")
        return {"creds": format_creds(creds.jwt, creds.key), "servers": [self.server.url]}

    def client(self, who: str) -> Client:
        return Client(**self.credentials(who))

    def start(self) -> None:
        self.bob.connect()
        self.alice.connect()
        ready = threading.Event()
        thread = threading.Thread(
            target=self.bob.serve, args=[self.service], kwargs={"on_ready": ready.set}
        )
        thread.start()
        self.threads.append(thread)
        assert ready.wait(10)

    def stop(self) -> None:
        self.release.set()
        self.alice.close()
        self.bob.close()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()

    @property
    def peer(self) -> SyncPeer:
        return self.alice.peer(self.bob.username, "sync")

    def _service(self) -> Service:
        service = Service("sync")

        @service.on_request("/echo")
        async def echo(body: bytes) -> bytes:
            return body

        @service.on_request("/held")
        def held() -> str:
            self.begun.release()
            self.release.wait(20)
            return "let go"

        return service


@pytest.fixture
def couple(nats_shared: tuple[Realm, NatsServer]) -> Iterator[Couple]:
    found = Couple(*nats_shared)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "authsvc.rpc loop"]


def test_a_script_calls_without_an_event_loop(couple: Couple) -> None:
    with couple.client("carol") as carol:
        bob = carol.peer(couple.bob.username, "sync")
        assert bob.call("/echo", json={"n": 1}, timeout=5).json() == {"n": 1}
        url = f"syft://{couple.bob.username}/app_data/sync/rpc/echo"
        assert carol.call(url, content="x", timeout=5).text == "x"
        assert carol.username.startswith("carol")
        assert (bob.name, bob.app) == (couple.bob.username, "sync")
        assert repr(bob) == f"<SyncPeer {bob.name} sync>"
        with pytest.raises(NoResponder):
            carol.peer("nobody@example.com", "sync").call("/", timeout=5)
        assert carol.stats.responses == 2
    with pytest.raises(Disconnected, match="was closed"):
        bob.call("/echo")


def test_threads_of_a_pool_share_one_client(couple: Couple) -> None:
    def call(number: int) -> bool:
        return couple.peer.call("/echo", content=str(number), timeout=20).text == str(number)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(2000)))
    assert couple.alice.stats.calls == couple.alice.stats.responses == 2000
    assert couple.alice.stats.unknown == 0


async def test_a_running_event_loop_is_no_hindrance(couple: Couple) -> None:
    # As in a notebook, whose kernel runs this very code inside its own loop.
    assert asyncio.get_running_loop().is_running()
    with couple.client("carol") as carol:
        bob = carol.peer(couple.bob.username, "sync")
        assert bob.call("/echo", content="x", timeout=5).text == "x"
    await asyncio.sleep(0)


def test_contexts_of_the_caller_reach_the_call(couple: Couple) -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def seen() -> str:
        return variable.get()

    variable.set("mine")
    assert couple.alice.live().run(seen()) == "mine"


def test_closing_while_others_call_tells_them(couple: Couple) -> None:
    def call(_: int) -> type[BaseException] | None:
        try:
            while True:
                couple.peer.call("/held", timeout=30)
        except RpcError as error:
            return type(error)

    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(call, number) for number in range(8)]
        for _ in ends:
            assert couple.begun.acquire(timeout=10)
        couple.alice.close()
        assert {end.result(10) for end in ends} == {Disconnected}
    couple.alice.close()


def test_closing_from_many_threads_while_many_begin(couple: Couple) -> None:
    """However calls and the end of the loop fall together, nobody waits for ever."""
    for _ in range(20):
        client = couple.client("carol")
        client.connect()
        peer = client.peer(couple.bob.username, "sync")

        def call(peer: SyncPeer = peer) -> None:
            while True:
                peer.call("/echo", timeout=20)

        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(call) for _ in range(4)]
            wait_for(lambda client=client: client.stats.responses)  # type: ignore[misc]
            closings = [pool.submit(client.close) for _ in range(2)]
            for closing in closings:
                closing.result(10)
            assert all(isinstance(it.exception(10), Disconnected) for it in calls)


def test_what_was_not_connected_or_was_closed_says_so(couple: Couple) -> None:
    client = couple.client("carol")
    for use in (lambda: client.username, lambda: client.peer("bob@x.com", "app"), client.live):
        with pytest.raises(Disconnected, match="not connected"):
            use()
    assert client.stats.calls == 0
    before = len(loop_threads())
    client.connect()
    client.connect()
    assert len(loop_threads()) == before + 1
    client.close()
    client.close()
    assert len(loop_threads()) == before
    with pytest.raises(Disconnected, match="was closed"):
        client.connect()
    with pytest.raises(Disconnected, match="was closed"):
        client.peer("bob@x.com", "app").call("/")
    unused = couple.client("carol")
    unused.close()
    with pytest.raises(Disconnected, match="was closed"):
        unused.connect()
    with pytest.raises(InvalidInput):
        Client("http://127.0.0.1:1")


def test_a_client_that_cannot_connect_leaves_no_thread(couple: Couple) -> None:
    before = len(loop_threads())
    with pytest.raises(NotAuthenticated), Client(creds="/nowhere/x.creds", servers=["nats://x"]):
        raise AssertionError
    assert len(loop_threads()) == before


def test_a_client_that_nobody_holds_any_more_ends(couple: Couple) -> None:
    before = len(loop_threads())
    client = couple.client("carol")
    client.connect()
    peer = client.peer(couple.bob.username, "sync")
    del client
    gc.collect()
    assert peer.call("/echo", content="x", timeout=5).text == "x"  # the peer holds it
    del peer
    gc.collect()
    wait_for(lambda: len(loop_threads()) == before)


def test_the_loop_itself_must_not_wait(couple: Couple) -> None:
    """A handler that runs in the client's own loop may not block for it; a plain one may."""
    with couple.client("carol") as carol:
        app, ready, errors = Service("own"), threading.Event(), list[BaseException]()
        peer = carol.peer(couple.bob.username, "sync")

        @app.on_request("/async")
        async def asynchronous() -> None:
            for use in (peer.call, lambda _: carol.connect(), lambda _: carol.close()):
                try:
                    use("/echo")
                except RuntimeError as error:
                    errors.append(error)

        @app.on_request("/plain")
        def plain() -> str:
            return peer.call("/echo", content="onward", timeout=5).text

        serving = threading.Thread(target=carol.serve, args=[app], kwargs={"on_ready": ready.set})
        serving.start()
        assert ready.wait(10)
        own = couple.alice.peer(carol.username, "own")
        assert own.call("/async", timeout=5).status == 200
        assert [str(error) for error in errors] == [str(errors[0])] * 3
        assert "would wait for itself" in str(errors[0])
        assert own.call("/plain", timeout=5).text == "onward"
    serving.join(10)
    assert not serving.is_alive()


def test_deadlines_and_refusals_are_those_of_the_async_face(couple: Couple) -> None:
    with pytest.raises(DeadlineExceeded):
        couple.peer.call("/held", timeout=0.05)
    assert couple.alice.stats.cancelled == 1  # and the responder was told
    assert couple.begun.acquire(timeout=10)
    with pytest.raises(ValueError, match="timeout"):
        couple.peer.call("/echo", timeout=0)
    with pytest.raises(TypeError):
        couple.peer.call("/echo", json=object())
    assert couple.peer.call("/nowhere", timeout=5).status == 404


def test_errors_leave_no_cycle_behind(couple: Couple) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            with pytest.raises(NoResponder):
                couple.alice.peer("nobody@example.com", "sync").call("/", timeout=5)
            with pytest.raises(ValueError, match="timeout"):
                couple.peer.describe(timeout=0)
        kept = [it for it in gc.get_objects() if isinstance(it, Wait)]
        assert len(kept) < 20
    finally:
        gc.enable()


def test_an_ended_loop_refuses_at_once() -> None:
    ended = []

    async def farewell() -> None:
        ended.append(True)
        raise OSError("the end must come all the same")

    async def nothing() -> int:
        return 1

    thread = LoopThread(farewell)
    assert thread.run(nothing()) == 1
    thread.close()
    thread.close()
    assert ended == [True]
    with pytest.raises(Disconnected, match="was closed"):
        thread.run(nothing())


async def test_renewals_under_load_lose_no_call(people: People) -> None:
    """24 of them on each side, with callers in eight threads."""
    bob, _ = await people.sourced("bob", renew_in=0.12)
    service = Service("echo")

    @service.on_request("/echo")
    async def echo(body: bytes) -> bytes:
        return body

    await people.serve(service, bob)
    source = LocalSource(people.kit, people.name("alice"), renew_in=0.12)

    def load() -> tuple[int, Client]:
        with Client(source=source) as client:
            peer = client.peer(bob.username, "echo")
            deadline = time.monotonic() + 60

            def call(number: int) -> int:
                count = 0
                while min(client.stats.renewals, bob.stats.renewals) < 24:
                    assert time.monotonic() < deadline
                    body = f"{number} {count}"
                    assert peer.call("/echo", content=body, timeout=10).text == body
                    count += 1
                    time.sleep(0.002)
                return count

            with ThreadPoolExecutor(8) as pool:
                return sum(pool.map(call, range(8))), client

    count, client = await asyncio.to_thread(load)
    assert client.stats.calls == client.stats.responses == count > 500
    assert client.stats.timeouts == client.stats.disconnected == client.stats.resent == 0
