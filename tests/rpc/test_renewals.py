"""Credentials that end all the time, under calls on every road; long: ``benchmarks.renewal``."""

from __future__ import annotations

from authsvc.rpc import Client
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc.http import AsgiService, BridgeService
from tests.fixtures.waiting import until
from tests.rpc.conftest import LocalSource, People
from tests.rpc.load import ASGI_APP, BRIDGED_APP, Load, echo, http_server, web

RENEWALS = 24


async def test_both_faces_and_the_bridge_lose_no_call(people: People) -> None:
    alice, _ = await people.sourced("alice", life=10, renew_in=0.1)
    bob, _ = await people.sourced("bob", life=10, renew_in=0.11)
    carol, _ = await people.sourced("carol", life=10, renew_in=0.12)
    source = LocalSource(people.kit, people.name("dave"), life=10, renew_in=0.13)
    dave = Client(source=source)
    load = Load()
    async with http_server(web()) as url:
        await people.serve(echo(), alice)
        await people.serve(AsgiService(web(), ASGI_APP), alice)
        await people.serve(BridgeService(BRIDGED_APP, url), carol)
        try:
            await in_thread(dave.connect)
            async with load.over_all(bob, dave, alice.username, carol.username):
                counted = [client.stats for client in (alice, bob, carol, dave)]
                await until(lambda: min(one.renewals for one in counted) >= RENEWALS, 60)
        finally:
            await in_thread(dave.close)
            await people.close()
    assert load.lost == []
    assert load.calls > 500
    assert len(load.took) == 9
    assert all(one.timeouts == one.disconnected == 0 for one in counted)
