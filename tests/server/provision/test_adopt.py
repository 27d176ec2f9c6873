"""A NATS that runs already is taken over: nobody is cut off, nothing of it is rewritten."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from nats.aio.client import Client as NatsClient
from nats.errors import Error as NatsError
from sqlalchemy import select

from authsvc.claims import (
    AccountClaims,
    Creds,
    decode_account,
    decode_operator,
    decode_user,
    encode,
)
from authsvc.errors import Conflict
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.app import open_store
from authsvc.server.models import Account, AuditEvent, SigningKey
from authsvc.server.provision.drift import Drift
from authsvc.server.provision.ports import choose_port
from authsvc.server.provision.resolver import Resolver
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.nats import HOST, connect_options
from tests.fixtures.nsc import Nsc, NscServer, adopt, service_on, settings_for
from tests.fixtures.waiting import until
from tests.security.raw import RawClient

StartNats = Callable[[Nsc], NscServer]


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[StartNats]:
    with ExitStack() as stack:

        def start(nsc: Nsc) -> NscServer:
            server = NscServer(nsc, tmp_path / "theirs")
            server.start()
            stack.callback(server.stop)
            return server

        yield start


@asynccontextmanager
async def connected(url: str, creds: Creds) -> AsyncIterator[tuple[NatsClient, list[str]]]:
    """A client, and what it was told since."""
    client, told = NatsClient(), []

    async def note(*_: object) -> None:
        told.append("disturbed")

    await client.connect(
        url,
        disconnected_cb=note,
        error_cb=note,
        **connect_options(creds),
    )
    try:
        yield client, told
    finally:
        await client.close()


async def echoes(client: NatsClient) -> None:
    subscription = await client.subscribe("echo")
    await client.publish("echo", b"here")
    assert (await subscription.next_msg(5)).data == b"here"
    await subscription.unsubscribe()


def resolver_of(service: LiveService) -> Resolver:
    return cast("Resolver", service.running.reconciler.resolver)


def drift_of(service: LiveService) -> Drift:
    found = service.running.reconciler.drift
    assert found is not None
    return found


async def applied(service: LiveService) -> None:
    found = await service.running.reconciler.push()
    assert {item.state for item in found.values()} == {"applied"}


async def held(service: LiveService, account: str) -> list[str]:
    return await resolver_of(service).lookups(account)


async def row(service: LiveService, account: str) -> Account:
    async with service.running.database.reading() as session:
        return (await session.scalars(select(Account).filter_by(public_key=account))).one()


async def events(service: LiveService, action: str) -> list[AuditEvent]:
    async with service.running.database.reading() as session:
        return list(await session.scalars(select(AuditEvent).filter_by(action=action)))


async def status(service: LiveService) -> dict[str, Any]:
    found: dict[str, Any] = (
        await service.admin("GET", "/v1/admin/nats/status", "users:read")
    ).json()
    return found


async def rotate(service: LiveService, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", "/v1/admin/keys/rotate", "keys:rotate", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


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
        newer = _signed(orders, nsc.signer, 1, description="changed")
        newer_system = _signed(system, nsc.signer, 1, description="changed")
        stranger = _signed(orders, KeyPair.generate(Prefix.OPERATOR), 1000)
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
    newer = _signed(nsc.account("orders"), nsc.signer, 1, description="changed")
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


async def test_a_signing_key_is_made_where_only_the_identity_key_is_there(
    tmp_path: Path, database_url: str, start_nats: StartNats
) -> None:
    nsc = Nsc.write(tmp_path / "nsc", system_signing=False)
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", database_url)
    await adopt(nsc, settings)
    async with service_on(settings, server.url) as service:
        operator = (await service.http.get("/jwt/v1/operator")).text
        claims = decode_operator(operator)
        assert len(claims.signing_keys) == 1
        assert replace(claims, signing_keys=[], issued_at=0, id="") == replace(
            nsc.operator, issued_at=0, id=""
        )
        people = service.running.material.people
        async with service.running.database.reading() as session:
            issuer = decode_account((await row(service, people)).jwt).issuer
            keys = {key.public_key: key for key in await session.scalars(select(SigningKey))}
        assert keys[issuer].purpose == "signing"
        await resolver_of(service).connect(5)
        # It does not believe the new key before it knows the new operator JWT.
        people_id = service.running.material.people_id
        found = await service.running.reconciler.propagate(people_id, wait=0.5)
        assert found.state == "pending"
        (warned,) = [it for it in (await status(service))["accounts"] if it["kind"] == "people"]
        assert "theirs: the operator JWT" in warned["warnings"][0]
        server.operator_jwt = operator
        server.restart()
        async with asyncio.timeout(20):
            while True:
                found = await service.running.reconciler.propagate(people_id)
                if found.state == "applied":
                    break
        assert not any(it["warnings"] for it in (await status(service))["accounts"])
        answer = (await service.login("alice@example.com")).json()
        creds = Creds(answer["jwt"], service.keys["alice@example.com"])
        async with connected(server.url, creds) as (_, told):
            await asyncio.sleep(0.1)
            assert told == []
        async with connected(server.url, nsc.user("orders")) as (client, told):
            await echoes(client)
        # The identity key of the system account, which had to do, is followed by a signing key.
        system = nsc.account("SYS").subject
        assert await held(service, system) == [nsc.jwt("SYS")]
        new = await rotate(service, account="system")
        await rotate(service, account="system", step="retire", confirm=True)
        (jwt,) = await held(service, system)
        assert decode_account(jwt).signing_keys.keys() == {new["public_key"]}
        await until(lambda: decode_user(resolver_of(service).jwt).issuer == new["public_key"])
        await applied(service)
        assert await held(service, nsc.account("orders").subject) == [nsc.jwt("orders")]


async def test_keys_rotate_and_what_is_theirs_stays(
    tmp_path: Path, sqlite_url: str, start_nats: StartNats
) -> None:
    nsc = Nsc.write(tmp_path / "nsc", signing_keys=2, strict=True)
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", sqlite_url)
    await adopt(nsc, settings)

    async with service_on(settings, server.url) as service:
        await applied(service)
        system = nsc.account("SYS")
        new = await rotate(service, account="system")
        assert new["propagation"]["state"] == "applied"
        (jwt,) = await held(service, system.subject)
        now = decode_account(jwt)
        assert now.signing_keys.keys() == system.signing_keys.keys() | {new["public_key"]}
        now.signing_keys = system.signing_keys
        assert now.body() == system.body()
        await rotate(service, account="system", step="retire", confirm=True)
        (jwt,) = await held(service, system.subject)
        assert decode_account(jwt).signing_keys.keys() == {new["public_key"]}
        # The operator's: the one that is not here stays in the operator JWT.
        prepared = await rotate(service, account="operator")
        operator = (await service.http.get("/jwt/v1/operator")).text
        listed = decode_operator(operator).signing_keys
        assert set(listed) == {*nsc.operator.signing_keys, prepared["public_key"]}
        server.operator_jwt = operator
        server.restart()

        async def signs() -> bool:
            people = await row(service, service.running.material.people)
            return bool(decode_account(people.jwt).issuer == prepared["public_key"])

        await until(signs, 20)
        # Their accounts can't be signed anew here.
        refused = await rotate(service, 409, account="operator", step="retire")
        assert "orders" in refused["detail"]
        newer = _signed(nsc.account("orders"), nsc.key(nsc.operator.signing_keys[0]), 1)
        await resolver_of(service).push(newer)
        await drift_of(service).look()
        assert (await rotate(service, account="operator", step="retire"))["state"] == "retired"
        assert await held(service, nsc.account("orders").subject) == [newer]


async def test_an_owner_who_forgets_our_key_of_the_system_account_can_mend_it(
    tmp_path: Path, sqlite_url: str, start_nats: StartNats
) -> None:
    nsc = Nsc.write(tmp_path / "nsc", signing_keys=1)
    server = start_nats(nsc)
    settings = settings_for(tmp_path / "data", sqlite_url)
    await adopt(nsc, settings)
    async with service_on(settings, server.url) as service:
        await applied(service)
        new = (await rotate(service, account="system"))["public_key"]
        resolver = resolver_of(service)
        await until(lambda: resolver.connected and decode_user(resolver.jwt).issuer == new)
        system = nsc.account("SYS")
        with suppress(NatsError):  # it cuts off who asks for it
            await resolver.push(_signed(system, nsc.signer, 2))
        await until(lambda: not resolver.connected)
        told = {**system.signing_keys, new: None}
        newer = _signed(system, nsc.signer, 4, signing_keys=told, description="told")
        async with connected(server.url, nsc.user("SYS")) as (owner, _):
            answer = await owner.request("$SYS.REQ.CLAIMS.UPDATE", newer.encode(), timeout=5)
            assert json.loads(answer.data)["data"]["code"] == 200
        await until(lambda: resolver.connected, 20)
        await applied(service)
        assert await held(service, system.subject) == [newer]


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
            newer = _signed(nsc.account("orders"), nsc.signer, 1, description="changed")
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


async def test_what_is_kept_is_sealed_and_no_more_than_needed(
    tmp_path: Path, sqlite_url: str
) -> None:
    nsc = Nsc.of_nsc()
    settings = settings_for(tmp_path / "data", sqlite_url)
    await adopt(nsc, settings)
    seeds = {path.read_text().strip() for path in nsc.keys.rglob("*.nk")}
    assert len(seeds) == 4
    stored = Path(sqlite_url.removeprefix("sqlite:///")).read_bytes()
    assert not any(seed.encode() in stored for seed in seeds)
    async with open_store(settings) as store, store.database.reading() as session:
        keys = list(await session.scalars(select(SigningKey)))
        opened = {store.keystore.open(key.sealed_seed, key.public_key).seed for key in keys}
        assert store.material.operator == nsc.operator.subject
    # The identity key of the system account is not needed.
    assert len(seeds & opened) == 3
    assert nsc.key(nsc.operator.system_account).seed not in opened


def _signed(claims: AccountClaims, signer: KeyPair, after: int, **values: Any) -> str:
    at = max(int(time.time()), claims.issued_at) + after
    return encode(replace(claims, issued_at=at, **values), signer)
