"""What servers lost or were given by others: found, mended, reported."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

import nats

from authsvc.claims import AccountClaims, decode_account, encode
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import metrics
from authsvc.server.models import Account
from authsvc.server.provision.account_jwts import operator_signing_key
from authsvc.server.provision.drift import Drift
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.provision.resolver import Resolver
from authsvc.server.provision.revisions import note_revocation
from tests.fixtures.authsvc import LiveService
from tests.fixtures.nats import Realm
from tests.fixtures.waiting import until


def resolver_of(service: LiveService) -> Resolver:
    return cast("Resolver", service.running.reconciler.resolver)


def drift_of(service: LiveService) -> Drift:
    found = service.running.reconciler.drift
    assert found is not None
    return found


async def people(service: LiveService) -> Account:
    async with service.running.database.reading() as session:
        return await session.get_one(Account, service.running.material.people_id)


async def operator_key(service: LiveService) -> KeyPair:
    async with service.running.database.reading() as session:
        return await operator_signing_key(session, service.running.keystore)


async def revoke(service: LiveService, key: str) -> None:
    now = int(time.time())
    async with service.running.database.writing() as session:
        await note_revocation(
            session,
            account_id=service.running.material.people_id,
            public_key=key,
            revoked_at=now,
            expires_at=now + 3600,
            now=now,
        )
    await service.running.reconciler.propagate(service.running.material.people_id)


def forged(jwt: str, signer: KeyPair, *, after: int, **values: object) -> str:
    claims: AccountClaims = decode_account(jwt)
    return encode(replace(claims, issued_at=claims.issued_at + after, **values), signer)  # type: ignore[arg-type]


def mended(kind: str) -> float:
    return float(metrics.DRIFT.labels(kind)._value.get())


async def spoil(service: LiveService, kind: str) -> None:
    jwt = (await people(service)).jwt
    ours, theirs = await operator_key(service), KeyPair.generate(Prefix.OPERATOR)
    resolver = resolver_of(service)
    if kind == "removed":
        accounts = service.settings.data_dir / "nats" / "accounts"
        (stored,) = Path(accounts).rglob(f"{service.running.material.people}.jwt")
        stored.unlink()
    elif kind == "older":
        await resolver.push(forged(jwt, ours, after=-5, revocations={}))
    elif kind == "newer":
        await resolver.push(forged(jwt, ours, after=1000, revocations={}))
    else:
        await resolver.push(forged(jwt, theirs, after=0))


async def test_what_a_server_lost_is_pushed_again(shared_service: LiveService) -> None:
    key = KeyPair.generate(Prefix.USER)
    await revoke(shared_service, key.public.text)
    revoked_at = int(time.time())
    account, drift = shared_service.running.material.people, drift_of(shared_service)
    for kind in ("removed", "older", "newer", "changed"):
        before, counted, total = await people(shared_service), mended(kind), drift.mended
        assert not await drift.look()
        await spoil(shared_service, kind)
        spoilt = await resolver_of(shared_service).lookups(account)
        assert spoilt != [before.jwt]
        # The service's own look, every ten seconds, may be the first to find it.
        assert await drift.look() or drift.mended > total
        after = await people(shared_service)
        assert await resolver_of(shared_service).lookups(account) == [after.jwt]
        assert key.public.text in decode_account(after.jwt).revocations
        assert mended(kind) == counted + 1
        assert not await drift.look()
        known = [before.jwt, *filter(None, spoilt)]
        assert after.issued_at == max(decode_account(jwt).issued_at for jwt in known) + 1
    # A JWT of the second of the revocation counts as revoked itself.
    await asyncio.sleep(max(0, revoked_at + 1.01 - time.time()))
    answer = await shared_service.login("alice@example.com", key)
    client = await nats.connect(
        shared_service.nats_url,
        allow_reconnect=False,
        user_jwt_cb=answer.json()["jwt"].encode,
        signature_cb=lambda nonce: base64.b64encode(key.sign(nonce.encode())),
    )
    await client.close()


async def test_a_far_future_iat_of_somebody_else_costs_no_revocation(service: LiveService) -> None:
    key = KeyPair.generate(Prefix.USER).public.text
    await revoke(service, key)
    ours, year = await operator_key(service), 365 * 86400
    await resolver_of(service).push(forged((await people(service)).jwt, ours, after=10 * year))
    assert await drift_of(service).look() or drift_of(service).mended
    another = KeyPair.generate(Prefix.USER).public.text
    await revoke(service, another)
    account = await people(service)
    assert account.issued_at > time.time() + 9 * year
    assert decode_account(account.jwt).revocations.keys() == {key, another}
    assert await resolver_of(service).lookups(account.public_key) == [account.jwt]


async def test_it_is_found_by_the_timer(shared_service: LiveService) -> None:
    running = shared_service.running
    another = Reconciler(
        running.database, running.keystore, resolver_of(shared_service), interval=0.1
    )
    await another.start()
    try:
        await spoil(shared_service, "older")

        async def mended() -> bool:
            found = await resolver_of(shared_service).lookups(running.material.people)
            return found == [(await people(shared_service)).jwt]

        await until(mended, 5)
    finally:
        await another.stop()


async def test_foreign_jwts_are_reported_and_left_alone(shared_service: LiveService) -> None:
    stranger, resolver = Realm(), resolver_of(shared_service)
    jwt = stranger.account_jwt(stranger.people)
    await resolver.push(jwt)
    await drift_of(shared_service).look()
    status = (await shared_service.admin("GET", "/v1/admin/nats/status", "users:read")).json()
    assert status["foreign"] == [
        {
            "account": stranger.people.public,
            "name": "PEOPLE",
            "issuer": stranger.operator_signing.public.text,
            "issued_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stranger.now)),
            "servers": ["authsvc-nats"],
        }
    ]
    assert "authsvc_foreign_account_jwts 1.0" in (await shared_service.http.get("/metrics")).text
    assert await resolver.lookups(stranger.people.public) == [jwt]


async def test_looking_while_changes_are_pushed_mends_nothing(shared_service: LiveService) -> None:
    drift, stop = drift_of(shared_service), asyncio.Event()
    before = drift.mended

    async def look() -> None:
        while not stop.is_set():
            await drift.look()

    looking = asyncio.create_task(look())
    for _ in range(10):
        await revoke(shared_service, KeyPair.generate(Prefix.USER).public.text)
    stop.set()
    await looking
    assert drift.mended == before


async def test_without_a_connection_nothing_is_found(service: LiveService) -> None:
    await service.supervisor.stop()
    await until(lambda: not service.running.reconciler.connected)
    assert not await drift_of(service).look()
    assert drift_of(service).mended == 0
