"""The account of auth callout: made when the setting asks for it, and its keys rotated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from nats.errors import Error as NatsError
from sqlalchemy import select, update
from sqlmodel import col

from authsvc.claims import Permissions, decode_account, decode_user, ensure_valid
from authsvc.cli.nats import _config_text
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import Account, AuditEvent, Secret, SigningKey, key_slot, new_id
from authsvc.server.provision.door import callout_option
from authsvc.server.provision.external import External
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.settings import Settings, load
from authsvc.server.store import Store, open_store
from tests.fixtures.authsvc import LiveService, access_token
from tests.server.callout.clients import about, until
from tests.server.callout.conftest import Connect, responder_of

ALICE = "alice@example.com"


async def kinds(store: Store) -> list[str]:
    async with store.database.reading() as session:
        return sorted(await session.scalars(select(col(Account.kind))))


async def test_it_is_made_when_the_setting_asks_for_it_and_stays(
    tmp_path: Path, database_url: str
) -> None:
    def settings(*, callout: bool) -> Settings:
        return load(data_dir=tmp_path, database_url=database_url, callout=callout)

    async with open_store(settings(callout=False)) as store:
        operator = store.material.operator
        assert await kinds(store) == ["mail", "people", "system"]
        assert store.door is None
        assert callout_option(store.door, settings(callout=False)) is None
    async with open_store(settings(callout=True)) as store:
        assert store.material.operator == operator
        assert await kinds(store) == ["door", "mail", "people", "system"]
        assert store.door is not None
        first = store.door
        claims = decode_account((await store.account_jwts())[first.account])
        ensure_valid(claims, int(time.time()))
        assert claims.authorization.auth_users == (first.user_key.public.text,)
        assert claims.authorization.allowed_accounts == (store.material.people,)
        assert claims.authorization.xkey == first.xkey.public
        assert claims.default_permissions.publish.deny == (">",)
        option = callout_option(store.door, settings(callout=True))
        assert option is not None
        assert option.sentinel == first.sentinel
        async with store.database.reading() as session:
            sealed = [row.sealed for row in await session.scalars(select(Secret))]
            found = await session.scalars(
                select(AuditEvent).where(col(AuditEvent.action) == "account.create")
            )
            assert [item.details["public_key"] for item in found] == [first.account]
        assert all(first.xkey.seed.encode() not in text for text in sealed)
    async with open_store(settings(callout=True)) as store:
        assert store.door is not None
        # nats-server's configuration holds it: it must stay the same.
        assert store.door.sentinel == first.sentinel
        assert store.door.xkey.public == first.xkey.public
        assert await kinds(store) == ["door", "mail", "people", "system"]
    async with open_store(settings(callout=False)) as store:
        assert store.door is None


async def test_the_sentinel_is_the_least_a_user_can_be(tmp_path: Path, sqlite_url: str) -> None:
    async with open_store(load(data_dir=tmp_path, database_url=sqlite_url, callout=True)) as store:
        assert store.door is not None
        claims = decode_user(store.door.sentinel)
        ensure_valid(claims, int(time.time()))
        assert (claims.issuer_account, claims.expires) == (store.door.account, 0)
        assert (claims.permissions.empty, claims.subs, claims.payload) == (True, 0, 0)
        account = decode_account((await store.account_jwts())[store.door.account])
        scope = account.signing_keys[claims.issuer]
        assert scope is not None
        assert scope.permissions == Permissions.nothing()
        assert (scope.subs, scope.payload, scope.bearer_token) == (1, 1, True)
        assert "seed" not in repr(store.door).lower()
        assert store.door.user_jwt not in repr(store.door)


async def test_an_external_nats_server_is_told_of_it(tmp_path: Path, sqlite_url: str) -> None:
    settings = load(data_dir=tmp_path, database_url=sqlite_url, callout=True)
    text = await _config_text(settings, External(listen="127.0.0.1:4222"))
    async with open_store(settings) as store:
        assert store.door is not None
        assert f'default_sentinel: "{store.door.sentinel}"' in text
        assert store.door.account in text
    for secret in (store.door.xkey.seed, store.door.user_key.seed):
        assert secret not in text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_without_the_setting_nats_server_lets_nobody_ask(
    service: LiveService, connect: Connect
) -> None:
    config = (service.settings.data_dir / "nats" / "nats-server.conf").read_text()
    assert "default_sentinel" not in config
    assert "callout" not in (await service.http.get("/.well-known/authsvc")).json()
    with pytest.raises(NatsError, match="Authorization Violation"):
        await connect(service, user="syftbox", password=access_token(ALICE))


async def test_the_config_bounds_subscriptions(door: LiveService, connect: Connect) -> None:
    """nats-server forgets the user JWT's own bound."""
    config = (door.settings.data_dir / "nats" / "nats-server.conf").read_text()
    assert "max_subscriptions: 10000" in config
    assert "no_auth_user" not in config
    alice = await connect(door, ALICE)
    for number in range(1100):
        await alice.subscribe(f"_INBOX.alice@example%2Ecom.{number}")
    await about(alice)


async def test_it_follows_a_rotation_of_its_signing_key(
    own_door: LiveService, connect: Connect
) -> None:
    door = own_door
    running = door.running
    assert running.door is not None
    await about(await connect(door, ALICE))
    responder = responder_of(door)
    pair, now = KeyPair.generate(Prefix.ACCOUNT), int(time.time())
    slot = key_slot("account", "signing", running.door.account_id)
    values: dict[str, Any] = {"owner": "account", "purpose": "signing", "slot": slot}
    async with running.database.writing() as session:
        session.add(
            SigningKey(
                id=new_id("key"),
                public_key=pair.public.text,
                account_id=running.door.account_id,
                generation=2,
                name="second",
                sealed_seed=running.keystore.seal(pair, pair.public.text),
                state="active",
                created_at=now,
                activated_at=now + 1,
                **values,
            )
        )
        await raise_revision(session, running.door.account_id)
    found = await running.reconciler.propagate(running.door.account_id)
    assert found.state == "applied"
    await until(lambda: responder._door.signer == pair.public.text and not responder.fault())
    async with running.database.writing() as session:
        await session.execute(
            update(SigningKey)
            .where(col(SigningKey.slot) == slot)
            .where(col(SigningKey.generation) == 1)
            .values(state="retired")
        )
        await raise_revision(session, running.door.account_id)
    await running.reconciler.propagate(running.door.account_id)
    assert responder.fault() is None
    # nats-server's configuration still holds the same sentinel, which no rotation ends.
    await about(await connect(door, ALICE))
