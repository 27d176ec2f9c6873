"""Connections that end, and credentials that are renewed, without a call being lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from authsvc.errors import Unavailable
from authsvc.rpc import (
    AsyncClient,
    DeadlineExceeded,
    Disconnected,
    Login,
    NotAuthenticated,
    PermissionDenied,
    RpcError,
    Service,
)
from tests.fixtures.nats import NatsKit, NewNats
from tests.rpc.conftest import Eventually, LocalSource, People
from tests.rpc.faces import Face


def echo(name: str = "echo") -> Service:
    service = Service(name)

    @service.on_request("/echo")
    async def answer(body: bytes) -> bytes:
        return body

    @service.on_request("/slow")
    async def slow() -> str:
        await asyncio.sleep(0.4)
        return "slow"

    return service


@contextlib.asynccontextmanager
async def load(people: People, caller: str, callee: str, app: str) -> AsyncIterator[list[float]]:
    """Constant calls by 16 callers; how long each took, at the end. Any error fails."""
    client = next(c for c in people.clients if c.username == people.name(caller))
    peer = client.peer(people.name(callee), app)
    took: list[float] = []
    stop = asyncio.Event()

    async def call(number: int) -> None:
        body = str(number).encode()
        while not stop.is_set():
            start = time.monotonic()
            assert (await peer.call("/echo", content=body, timeout=5)).content == body
            took.append(time.monotonic() - start)
            await asyncio.sleep(0.002)

    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(call(number))
        yield took
        stop.set()


async def test_renewals_under_load_lose_no_call(people: People) -> None:
    alice, source = await people.sourced("alice", life=4, renew_in=0.8)
    bob, other = await people.sourced("bob", life=4, renew_in=1.0)
    await people.serve(echo(), bob)
    async with load(people, "alice", "bob", "echo") as took:
        await asyncio.sleep(5.5)
    assert source.obtained >= 6
    assert other.obtained >= 5
    assert alice.stats.renewals >= 5
    assert alice.stats.calls == alice.stats.responses == len(took) > 1000
    assert alice.stats.timeouts == alice.stats.disconnected == 0
    assert max(took) < 0.25


async def test_renewals_in_a_cluster_lose_no_call(new_nats: NewNats) -> None:
    people = People(new_nats(count=3))
    try:
        alice, _ = await people.sourced("alice", renew_in=0.5)
        bob, _ = await people.sourced("bob", renew_in=0.4)
        await people.serve(echo(), bob)
        await asyncio.sleep(0.5)  # interest reaches the other servers
        async with load(people, "alice", "bob", "echo"):
            await asyncio.sleep(5)
        assert min(alice.stats.renewals, bob.stats.renewals) >= 5
        assert alice.stats.calls == alice.stats.responses > 1000
    finally:
        await people.close()


async def test_a_call_that_outlives_its_connection_is_answered(people: People, face: Face) -> None:
    source = LocalSource(people.kit, people.name("alice"), renew_in=0.3)
    alice = await people.caller("alice", face, source=source)
    bob, _ = await people.sourced("bob", life=3600, renew_in=0.35)
    await people.serve(echo(), bob)
    peer = alice.peer(bob.username, "echo")
    answers = await asyncio.gather(*[peer.call("/slow", timeout=5) for _ in range(5)])
    assert [answer.text for answer in answers] == ["slow"] * 5
    assert source.obtained > 1


async def test_renewals_that_fail_are_tried_again(people: People, eventually: Eventually) -> None:
    alice, source = await people.sourced("alice", life=3600, renew_in=0.2)
    bob = await people.client("bob")
    await people.serve(echo(), bob)
    source.error = Unavailable("not now")
    await asyncio.sleep(0.8)
    peer = alice.peer(bob.username, "echo")
    assert (await peer.call("/echo", content=b"x")).content == b"x"
    assert alice.stats.renewals == 0
    source.error = ZeroDivisionError("what a token callable may raise")
    await asyncio.sleep(0.6)
    source.error = None
    await eventually(lambda: alice.stats.renewals)
    assert (await peer.call("/echo", content=b"x")).content == b"x"


class Stubborn(LocalSource):
    """Swallows the cancellation of its first renewal."""

    swallowed = 0
    asked = False

    async def obtain(self, current: Login | None) -> Login:
        if current is None:
            return await super().obtain(current)
        self.asked = True
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.swallowed += 1
            if self.swallowed > 1:
                raise
        raise Unavailable("not now")


async def test_closing_ends_a_renewal_that_swallows_it(
    people: People, eventually: Eventually
) -> None:
    source = Stubborn(people.kit, people.name("alice"), renew_in=0.1)
    alice = AsyncClient(source=source)
    await alice.connect()
    await eventually(lambda: source.asked)
    async with asyncio.timeout(8):
        await alice.close()
    assert source.swallowed == 2


async def test_an_expired_credential_is_followed_by_a_new_one(
    people: People, eventually: Eventually
) -> None:
    # Never asked to renew: nats-server ends the connection, nats-py gives up for good.
    alice, source = await people.sourced("alice", life=2)
    bob, _ = await people.sourced("bob", life=2)
    await people.serve(echo(), bob)
    await eventually(lambda: source.obtained == 2)
    peer = alice.peer(bob.username, "echo")
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(RpcError):
                if (await peer.call("/echo", content=b"x", timeout=2)).content == b"x":
                    break
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("error", [NotAuthenticated("gone"), PermissionDenied("disabled")])
async def test_what_is_refused_for_good_is_raised_by_calls(
    people: People, face: Face, error: RpcError, eventually: Eventually
) -> None:
    source = LocalSource(people.kit, people.name("alice"), life=2, renew_in=0.2)
    alice = await people.caller("alice", face, source=source)
    bob, bobs = await people.sourced("bob", life=2, renew_in=0.2)
    serving = await people.serve(echo(), bob)
    peer = alice.peer(bob.username, "echo")
    source.error = bobs.error = error
    await asyncio.sleep(0.5)
    # Refused a new one; the old one works as long as it lives.
    assert (await peer.call("/echo", content=b"x")).content == b"x"
    with pytest.raises(type(error)):
        await asyncio.wait_for(serving, 10)
    await eventually(lambda: alice.session.failure is not None)
    with pytest.raises(type(error), match=str(error)):
        await peer.call("/echo")
    assert peer.name == bob.username


async def test_a_file_that_ended_is_told(
    people: People, face: Face, eventually: Eventually
) -> None:
    alice = await people.caller("alice", face, ttl=1)
    bob = await people.client("bob")
    await people.serve(echo(), bob)
    peer = alice.peer(bob.username, "echo")
    call = asyncio.create_task(peer.call("/slow", timeout=10))
    await call
    await eventually(lambda: alice.session.failure is not None)
    with pytest.raises(NotAuthenticated, match="ended"):
        await peer.call("/echo")


async def test_a_server_that_comes_back_is_found_again(
    own: People, face: Face, eventually: Eventually
) -> None:
    alice, bob = await own.caller("alice", face), await own.client("bob")
    service = echo()
    await own.serve(service, bob)
    peer = alice.peer(bob.username, "echo")
    once = asyncio.create_task(peer.call("/slow", timeout=10))
    again = asyncio.create_task(peer.call("/slow", timeout=10, idempotent=True))
    await eventually(lambda: service.stats.requests == 2)
    await asyncio.to_thread(own.kit.server.stop, kill=True)
    with pytest.raises(Disconnected):
        await once
    await eventually(lambda: alice.session.connection is None)
    meanwhile = asyncio.create_task(peer.call("/echo", content=b"x", timeout=10, idempotent=True))
    with pytest.raises(DeadlineExceeded):
        await peer.call("/echo", timeout=0.1)
    await asyncio.to_thread(own.kit.server.start)
    assert (await again).text == "slow"
    with contextlib.suppress(RpcError):  # bob may come back later than alice
        assert (await meanwhile).content == b"x"
    await eventually(lambda: bob.session.connection is not None)
    assert (await peer.call("/echo", content=b"y", timeout=5)).content == b"y"
    assert alice.stats.reconnects == 1


async def test_a_revoked_user_is_told(own: People, face: Face, eventually: Eventually) -> None:
    kit: NatsKit = own.kit
    source = LocalSource(kit, own.name("alice"))
    alice = await own.caller("alice", face, source=source)
    bob = await own.client("bob")
    service = echo()
    await own.serve(service, bob)
    peer = alice.peer(bob.username, "echo")
    await peer.call("/echo")
    source.refuse = True
    key = source.creds.key.public.text
    kit.realm.set_accounts(int(time.time()), {key: int(time.time()) + 60})
    system = await kit.connect(kit.realm.system_creds(), inbox_prefix="_INBOX.test")
    jwt = kit.realm.account_jwt(kit.realm.people)
    call = asyncio.create_task(peer.call("/slow", timeout=5))
    await eventually(lambda: service.stats.requests == 2)
    await system.publish("$SYS.REQ.CLAIMS.UPDATE", jwt.encode())
    await system.flush()
    # In flight or not, a call tells what happened.
    with pytest.raises(NotAuthenticated):
        await call
    await eventually(lambda: alice.session.failure is not None)
    with pytest.raises(NotAuthenticated):
        await peer.call("/echo")
