"""Stored requests against the whole service: it makes the streams, the library asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from authsvc.client import Api
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, NoResponder, PermissionDenied, Request, Response, Service
from authsvc.rpc._responder.app import ServiceStats
from authsvc.rpc._responder.pulling import Puller
from authsvc.rpc._wire.jetstream import Delivered, nak
from authsvc.server.provision.mail_streams import Bounds
from tests.fixtures.authsvc import LiveService, access_token
from tests.fixtures.waiting import until

ALICE, BOB = "alice@example.com", "bob@example.com"


class Town:
    """Clients and running services, closed at the end."""

    def __init__(self, service: LiveService, stack: AsyncExitStack) -> None:
        self.service, self.stack = service, stack
        self.keys = {name: KeyPair.generate(Prefix.USER) for name in (ALICE, BOB)}

    async def client(self, name: str) -> AsyncClient:
        client = AsyncClient(self.service.url, token=access_token(name), key=self.keys[name])
        return await self.stack.enter_async_context(client)

    async def serve(self, app: Service, client: AsyncClient) -> None:
        task = asyncio.create_task(app.serve(client))
        self.stack.push_async_callback(self._end, app, task)
        await app.ready()

    @staticmethod
    async def _end(app: Service, task: asyncio.Task[None]) -> None:
        await app.stop()
        await asyncio.wait({task})

    def api(self, name: str) -> Api:
        api = Api(self.service.url, key=self.keys[name])
        self.stack.push_async_callback(api.close)
        return api


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind: what is asked here is the library; tests/server asks the databases."""
    return sqlite_url


@pytest.fixture
async def town(service: LiveService) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(service, stack)


def echo(**options: Any) -> Service:
    service = Service("echo", offline=True, **options)

    @service.on_request("/echo")
    async def answer(request: Request) -> bytes:
        return request.content

    return service


async def test_apps_and_mailboxes_are_made_by_themselves(town: Town) -> None:
    alice, bob = await town.client(ALICE), await town.client(BOB)
    peer = alice.peer(BOB, "echo")
    with pytest.raises(NoResponder):
        await peer.submit("/echo", content=b"too early")
    first = echo()
    await town.serve(first, bob)
    future = await peer.submit("/echo", content=b"one")
    assert (await future.result(20)).content == b"one"
    await first.stop()
    # Both away, each in turn.
    future = await peer.submit("/echo", content=b"two", expires="1h")
    await alice.close()
    await town.serve(echo(), bob)
    again = (await town.client(ALICE)).future(future.id)
    assert (await again.result(20)).content == b"two"


async def test_limits_that_were_set_stay(town: Town) -> None:
    alice, bob = await town.client(ALICE), await town.client(BOB)
    jwt, other = alice.session.login.jwt, bob.session.login.jwt
    api, bobs = town.api(ALICE), town.api(BOB)
    await api.set_mailbox(jwt, max_age=3600, max_pending=7)
    await bobs.set_mailbox(other, max_pending=2)
    app = echo()
    await town.serve(app, bob)
    await app.stop()
    peer = alice.peer(BOB, "echo")
    assert (await peer.submit("/echo")).id != (await peer.submit("/echo")).id
    found = await api.mailbox(jwt)
    assert (found["responses"], found["max_age"], found["max_pending"]) == (True, 3600, 7)
    assert (await bobs.mailbox(other))["max_pending"] == 2
    (item,) = (await bobs.apps(other))["items"]
    assert (item["name"], item["offline"]) == ("echo", True)
    await bobs.delete_app(other, "echo")
    with pytest.raises(NoResponder):
        await peer.submit("/echo")


class Keeping:
    """Takes one request and does nothing with it."""

    def __init__(self) -> None:
        self.acks: list[str] = []

    def room(self) -> int:
        return 1 - len(self.acks)

    def delivered(self, about: Delivered) -> None: ...

    def deliver(self, *message: Any) -> None:
        self.acks.append(message[3])

    def missing(self) -> None: ...


async def test_order_waits_for_what_another_process_took(town: Town) -> None:
    alice, bob = await town.client(ALICE), await town.client(BOB)
    api, jwt = town.api(BOB), bob.session.login.jwt
    assert (await api.set_app(jwt, "jobs"))["unacknowledged"] == 0
    peer = alice.peer(BOB, "jobs")
    futures = [await peer.submit("/job", content="first")]
    kept = Keeping()
    puller = Puller(bob.session, "jobs", kept, 1, ServiceStats())
    await puller.start()
    await until(lambda: bool(kept.acks))
    puller.stop()
    await puller.close()
    assert (await api.set_app(jwt, "jobs"))["unacknowledged"] == 1
    app, handled = Service("jobs", ordered=True), list[str]()

    @app.on_request("/job")
    async def job(request: Request) -> None:
        handled.append(request.text)

    futures.append(await peer.submit("/job", content="second"))
    await town.serve(app, bob)
    await until(lambda: app.stats.stored == 1)
    await asyncio.sleep(0.3)
    assert handled == []
    connection = bob.session.connection
    assert connection is not None
    connection.send(kept.acks[0], "", nak(0))
    for one in futures:
        await one.result(10)
    assert handled == ["first", "second"]
    assert (await api.set_app(jwt, "jobs", offline=False))["unacknowledged"] is None


async def test_what_nobody_could_handle_is_put_back(town: Town) -> None:
    alice, bob = await town.client(ALICE), await town.client(BOB)
    app, tries, able = Service("jobs", offline=True), list[str](), asyncio.Event()

    @app.on_request("/job")
    async def job(request: Request) -> Response:
        tries.append(request.id)
        if able.is_set():
            return Response(b"done")
        return Response(b"", status=503, headers={"retry-after": "0"})

    await town.serve(app, bob)
    future = await alice.peer(BOB, "jobs").submit("/job", expires="1h")
    # The service answers in bob's name when it was handed out for the last time.
    assert (await future.result(30)).status == 500
    most = Bounds().max_deliver
    assert len(tries) == most
    api, jwt = town.api(BOB), bob.session.login.jwt
    (letter,) = (await api.dead_letters(jwt, "jobs"))["items"]
    assert letter["requester"] == ALICE
    able.set()
    await api.requeue(jwt, "jobs", letter["id"])
    await until(lambda: len(tries) == most + 1)
    await until(lambda: app.stats.responses == 1)
    later = (await town.client(ALICE)).future(future.id)
    assert (await later.result(20)).content == b"done"


async def test_a_removed_app_is_registered_again(town: Town) -> None:
    alice, bob = await town.client(ALICE), await town.client(BOB)
    await town.serve(echo(), bob)
    await town.api(BOB).delete_app(bob.session.login.jwt, "echo")
    peer = alice.peer(BOB, "echo")

    async def kept() -> bool:
        try:
            return (await (await peer.submit("/echo", content=b"x")).result(5)).content == b"x"
        except NoResponder:
            return False

    await until(kept, 30)


async def test_a_disabled_user_submits_nothing(town: Town) -> None:
    alice, bob = await town.client(ALICE), await town.client(BOB)
    await town.serve(echo(), bob)
    peer = alice.peer(BOB, "echo")
    future = await peer.submit("/echo", content=b"x")
    answer = await town.service.admin("POST", f"/v1/admin/users/{ALICE}/disable")
    assert answer.status_code == 200, answer.text
    await until(lambda: alice.session.failure is not None, 30)
    with pytest.raises(PermissionDenied):
        await peer.submit("/echo")
    assert (await future.result(5)).content == b"x"  # it was heard before
