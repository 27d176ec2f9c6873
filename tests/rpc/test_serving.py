"""How serving starts and ends: readiness is told or its failure is, and stopping always stops."""

from __future__ import annotations

import asyncio

import pytest

from authsvc.claims import format_creds
from authsvc.rpc import AsyncClient, Disconnected, NoResponder, PermissionDenied, Service, run
from tests.fixtures.nats import NatsKit, NatsServer
from tests.fixtures.realm import Realm
from tests.rpc.conftest import Eventually, People
from tests.rpc.test_closing import frozen


async def test_serving_that_fails_is_told_and_may_be_tried_again(people: People) -> None:
    service = Service("other")
    unconnected = AsyncClient(creds="none", servers=["nats://127.0.0.1:1"])
    narrowed = await people.client("bob", app="mine")
    for client, error in ((unconnected, Disconnected), (narrowed, PermissionDenied)):
        serving = asyncio.create_task(service.serve(client))
        for waiting in (service.ready(), service.ready(), serving):
            with pytest.raises(error):
                await asyncio.wait_for(waiting, 5)
    bob = await people.client("bob")
    ready = asyncio.create_task(service.ready())
    await people.serve(service, bob)
    await asyncio.wait_for(ready, 5)
    assert (await bob.peer(bob.username, "other").call("/", timeout=5)).status == 404


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_service_that_is_stopped_while_it_starts_is_gone(own: People, how: str) -> None:
    service = Service("starting")
    alice, bob = await own.client("alice"), await own.client("bob")
    async with frozen(own):
        serving = asyncio.create_task(service.serve(bob))
        ready = asyncio.create_task(service.ready())
        await asyncio.sleep(0.1)
        if how == "stop":
            stopping = asyncio.create_task(service.stop())
        else:
            stopping = serving
            serving.cancel()
        await asyncio.sleep(0.1)
    await asyncio.wait({stopping, serving}, timeout=3)
    assert serving.done()
    assert serving.cancelled() == (how == "cancel")
    with pytest.raises(Disconnected, match="stopped before"):
        await asyncio.wait_for(ready, 1)
    # The queue group is empty again: nothing half-made takes the requests.
    with pytest.raises(NoResponder):
        await alice.peer(bob.username, "starting").call("/", timeout=2)
    await own.serve(service, bob)
    assert (await alice.peer(bob.username, "starting").call("/", timeout=2)).status == 404


async def test_a_service_that_waits_for_a_connection_may_be_stopped(
    own: People, eventually: Eventually
) -> None:
    service = Service("waiting")
    bob = await own.client("bob")
    await asyncio.to_thread(own.kit.server.stop, kill=True)
    await eventually(lambda: bob.session.connection is None)
    serving = asyncio.create_task(service.serve(bob))
    await asyncio.sleep(0.05)
    await asyncio.wait_for(service.stop(), 2)
    await asyncio.wait_for(serving, 2)


def test_a_service_outlives_its_event_loop(nats_shared: tuple[Realm, NatsServer]) -> None:
    kit = NatsKit(nats_shared[0], [nats_shared[1]])
    service = Service("loops")

    async def once() -> int:
        creds = kit.user_creds("loops@x.com")
        async with AsyncClient(
            creds=format_creds(creds.jwt, creds.key), servers=[kit.url]
        ) as client:
            serving = asyncio.create_task(service.serve(client))
            await asyncio.wait_for(service.ready(), 5)
            status = (await client.peer(client.username, "loops").call("/", timeout=5)).status
            await service.stop()
            await serving
            return status

    async def never_served() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.ready(), 0.01)

    run(never_served())
    assert [run(once()), run(once())] == [404, 404]
