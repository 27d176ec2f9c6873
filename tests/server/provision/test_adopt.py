"""A NATS that runs already is taken over: nobody is cut off, nothing of it is rewritten."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from authsvc.claims import (
    Creds,
)
from authsvc.errors import Conflict
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.provision.ports import choose_port
from authsvc.server.store import open_store
from tests.fixtures.authsvc import live_service
from tests.fixtures.nats import HOST
from tests.fixtures.nsc import Nsc, NscServer, adopt, service_on, settings_for
from tests.fixtures.waiting import until
from tests.security.raw import RawClient
from tests.server.provision.adopted import (
    StartNats,
    applied,
    connected,
    drift_of,
    echoes,
    events,
    held,
    resolver_of,
    row,
    signed,
    status,
)


async def test_what_nsc_made_is_adopted(
    tmp_path: Path, database_url: str, start_nats: StartNats
) -> None:
    nsc = Nsc.of_nsc()
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", database_url)
    async with connected(server.url, nsc.user("orders")) as (client, told):
        await adopt(nsc, settings)
        async with service_on(settings, server.url) as service:
            await applied(service)
            # People log in, talk, and are cut off.
            answer = (await service.login("alice@example.com")).json()
            alice = Creds(answer["jwt"], service.keys["alice@example.com"])
            host, port = server.url.removeprefix("nats://").split(":")
            raw = await RawClient.connect(host, int(port), alice)
            assert await raw.refused() == []
            key = service.keys["alice@example.com"]
            path = f"/v1/credentials/{answer['id']}"
            revoked = await service.call("DELETE", path, "DPoP", answer["jwt"], key)
            assert revoked.json()["propagation"]["state"] == "applied"
            assert "Revoked" in str(await raw.refused())
            await raw.close()
            # Nothing of theirs was touched.
            await drift_of(service).look()
            for account, jwt in nsc.jwts.items():
                assert await held(service, account) == [jwt]
                shown = await service.http.get(f"/jwt/v1/accounts/{account}")
                assert shown.text == jwt
            assert (await service.http.get("/jwt/v1/operator")).text == nsc.operator_jwt
            found = await status(service)
            assert (found["foreign"], found["drift"]["mended"]) == ([], 0)
            kinds = sorted((item["kind"], item["name"]) for item in found["accounts"])
            assert kinds == [
                ("adopted", "billing"),
                ("adopted", "orders"),
                ("mail", "MAIL"),
                ("people", "people"),
                ("system", "SYS"),
            ]
            config = await service.admin("GET", "/v1/admin/nats/config", "nats:push")
            assert all(jwt in config.text for jwt in nsc.jwts.values())
            (event,) = await events(service, "operator.adopt")
            assert event.target_id == nsc.operator.subject
            assert not event.details["operator_jwt_changed"]
        assert told == []
        await echoes(client)


async def test_the_owner_goes_on_changing_accounts(
    tmp_path: Path, database_url: str, start_nats: StartNats
) -> None:
    nsc = Nsc.of_nsc()
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", database_url)
    await adopt(nsc, settings)
    async with service_on(settings, server.url) as service:
        await applied(service)
        orders, system = nsc.account("orders"), nsc.account("SYS")
        newer = signed(orders, nsc.signer, 1, description="changed")
        newer_system = signed(system, nsc.signer, 1, description="changed")
        stranger = signed(orders, KeyPair.generate(Prefix.OPERATOR), 1000)
        for jwt in (newer, newer_system):
            await resolver_of(service).push(jwt)
        # Found by a look, or by the push that would have written over it.
        await drift_of(service).look()
        await applied(service)
        assert await held(service, orders.subject) == [newer]
        assert await held(service, system.subject) == [newer_system]
        assert (await row(service, orders.subject)).adopted_jwt == newer
        assert drift_of(service).mended == 0
        followed = await events(service, "account.follow")
        assert {event.target_id for event in followed} == {orders.subject, system.subject}
        # What the operator did not sign is not followed, whatever its time.
        await resolver_of(service).push(stranger)
        assert await held(service, orders.subject) == [stranger]
        assert await drift_of(service).look()
        assert await held(service, orders.subject) == [newer]
        assert len(await events(service, "account.follow")) == 2


async def test_a_server_that_lost_one_is_told_apart(
    tmp_path: Path, sqlite_url: str, start_nats: StartNats
) -> None:
    """nats-server does not write the same JWT again while it runs, so it is no more said of it."""
    nsc = Nsc.of_nsc()
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", sqlite_url)
    await adopt(nsc, settings)
    async with service_on(settings, server.url) as service:
        await applied(service)
        orders = nsc.account("orders").subject
        (stored,) = server.folder.rglob(f"{orders}.jwt")
        stored.unlink()
        await drift_of(service).look()
        found = await service.running.reconciler.propagate((await row(service, orders)).id, wait=1)
        assert found.state == "pending"
        assert drift_of(service).foreign == ()
        server.restart()

        async def back() -> bool:
            return await held(service, orders) == [nsc.jwt("orders")]

        await until(back, 20)


async def test_a_push_follows_before_it_writes(
    tmp_path: Path, sqlite_url: str, start_nats: StartNats
) -> None:
    """A server that appears makes the service push; what the owner made just before stays."""
    nsc = Nsc.of_nsc()
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", sqlite_url)
    await adopt(nsc, settings)
    newer = signed(nsc.account("orders"), nsc.signer, 1, description="changed")
    async with service_on(settings, server.url) as service:
        await applied(service)
        await resolver_of(service).push(newer)
    async with service_on(settings, server.url) as service:
        server.restart(kill=True)

        async def everywhere() -> bool:
            states = {it.state for it in service.running.reconciler.current.values()}
            return states == {"applied"} and service.running.reconciler.connected

        await until(everywhere, 20)
        await service.running.reconciler.push()
        assert await held(service, nsc.account("orders").subject) == [newer]


async def test_one_of_two_servers_was_away_when_the_owner_pushed(
    tmp_path: Path, sqlite_url: str
) -> None:
    nsc = Nsc.of_nsc()
    ports = [choose_port(HOST) for _ in range(2)]
    orders = nsc.account("orders").subject
    with ExitStack() as stack:
        servers = []
        for name, routes in (("n1", ports), ("n2", ports[::-1])):
            server = NscServer(nsc, tmp_path / name, name, routes=tuple(routes))
            server.start()
            stack.callback(server.stop)
            servers.append(server)
        settings = settings_for(tmp_path / "data", sqlite_url)
        await adopt(nsc, settings)
        async with service_on(settings, servers[0].url) as service:

            async def both() -> bool:
                found = await service.running.reconciler.push()
                return all(len(it.servers) == 2 and it.state == "applied" for it in found.values())

            await until(both, 20)
            servers[1].stop(kill=True)
            newer = signed(nsc.account("orders"), nsc.signer, 1, description="changed")
            await resolver_of(service).push(newer)
            servers[1].start()

            async def everywhere() -> bool:
                return await held(service, orders) == [newer, newer]

            await until(everywhere, 20)
            await drift_of(service).look()
            assert await held(service, orders) == [newer, newer]
            assert (await row(service, orders)).jwt == newer


async def test_our_own_nats_server_runs_under_the_adopted_operator(
    tmp_path: Path, sqlite_url: str
) -> None:
    nsc = Nsc.of_nsc()
    await adopt(nsc, settings_for(tmp_path / "data", sqlite_url))
    async with live_service(tmp_path / "data", sqlite_url, callout=True) as service:
        assert service.running.material.operator == nsc.operator.subject
        assert (await service.login("alice@example.com")).status_code == 201
        async with connected(service.nats_url, nsc.user("orders")) as (client, told):
            await echoes(client)
            assert told == []
        await applied(service)
        assert await held(service, nsc.account("orders").subject) == [nsc.jwt("orders")]


async def test_only_before_the_first_start(tmp_path: Path, database_url: str) -> None:
    nsc = Nsc.of_nsc()
    settings = settings_for(tmp_path / "data", database_url)
    async with open_store(settings) as store:
        before = store.material
    with pytest.raises(Conflict, match="has an operator already"):
        await adopt(nsc, settings)
    async with open_store(settings) as store:
        assert store.material == before
