"""Keys of an adopted NATS: made where one is missing, rotated, kept sealed."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nats.errors import Error as NatsError
from sqlalchemy import select

from authsvc.claims import (
    Creds,
    decode_account,
    decode_operator,
    decode_user,
)
from authsvc.server.models import SigningKey
from authsvc.server.store import open_store
from tests.fixtures.nsc import Nsc, adopt, service_on, settings_for
from tests.fixtures.waiting import until
from tests.server.provision.adopted import (
    StartNats,
    applied,
    connected,
    drift_of,
    echoes,
    held,
    resolver_of,
    rotate,
    row,
    signed,
    status,
)


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

        async def warns_of_people() -> bool:
            accounts = (await status(service))["accounts"]
            (found,) = [it["warnings"] for it in accounts if it["kind"] == "people"]
            return any("theirs: the operator JWT" in warning for warning in found)

        await until(warns_of_people)
        server.operator_jwt = operator
        server.restart()
        async with asyncio.timeout(20):
            while True:
                found = await service.running.reconciler.propagate(people_id)
                if found.state == "applied":
                    break

        async def nothing_to_warn_of() -> bool:
            return not any(it["warnings"] for it in (await status(service))["accounts"])

        await until(nothing_to_warn_of)  # the system account's turn may come later
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
        newer = signed(nsc.account("orders"), nsc.key(nsc.operator.signing_keys[0]), 1)
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
            await resolver.push(signed(system, nsc.signer, 2))
        await until(lambda: not resolver.connected)
        told = {**system.signing_keys, new: None}
        newer = signed(system, nsc.signer, 4, signing_keys=told, description="told")
        async with connected(server.url, nsc.user("SYS")) as (owner, _):
            answer = await owner.request("$SYS.REQ.CLAIMS.UPDATE", newer.encode(), timeout=5)
            assert json.loads(answer.data)["data"]["code"] == 200
        await until(lambda: resolver.connected, 20)
        await applied(service)
        assert await held(service, system.subject) == [newer]


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
