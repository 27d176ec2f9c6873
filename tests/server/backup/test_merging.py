"""An older backup against nats-servers that know better: what ended since stays ended."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import AccountClaims, Creds, decode_account, encode
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.app import open_service
from authsvc.server.backup import Options
from authsvc.server.database import Database
from authsvc.server.models import Account, Credential, DeadKey, Revocation, SigningKey
from authsvc.server.provision.revisions import note_revocation
from authsvc.server.running import Running
from authsvc.server.settings import Settings
from tests.fixtures.authsvc import LiveService, live_service
from tests.fixtures.nats import connect_options
from tests.server.backup.conftest import Origin, RestoreTo

Login = tuple[KeyPair, str, str]
"""An nkey, its JWT, and its credential's id."""


async def login(service: LiveService, name: str) -> Login:
    answer = await service.login(f"{name}@example.com")
    assert answer.status_code == 201, answer.text
    return service.keys[f"{name}@example.com"], answer.json()["jwt"], answer.json()["id"]


async def revoke(service: LiveService, login: Login) -> None:
    path = f"/v1/admin/credentials/{login[2]}/revoke"
    answer = await service.admin("POST", path)
    assert answer.status_code == 200, answer.text
    assert answer.json()["propagation"]["state"] == "applied"


async def gets_in(url: str, login: Login) -> bool:
    client = Client()
    try:
        await client.connect(
            url, **connect_options(Creds(login[1], login[0])), allow_reconnect=False
        )
    except nats.errors.Error:
        return False
    finally:
        await client.close()
    return True


def origin_of(service: LiveService) -> Origin:
    running = service.running
    return Origin(service.settings, running.database, running.keystore)


async def held(service: LiveService | Running) -> AccountClaims:
    """What nats-server holds."""
    running = service.running if isinstance(service, LiveService) else service
    resolver = running.reconciler.resolver
    assert resolver is not None
    found = await resolver.lookups(running.material.people)
    return decode_account(found[0])


async def start(stack: AsyncExitStack, settings: Settings, nats_url: str) -> Running:
    """The restored service, at the nats-server of before."""
    settings = settings.model_copy(
        update={"nats_urls": [nats_url], "nats_internal_urls": [nats_url], "port": 1}
    )
    running = await stack.enter_async_context(open_service(settings))
    found = await running.reconciler.propagate(running.material.people_id, wait=20)
    assert found.state == "applied"
    return running


@pytest.mark.parametrize("asked", [True, False], ids=["by restore", "by the first start"])
async def test_what_was_revoked_since_stays_so(
    tmp_path: Path, sqlite_url: str, restore_to: RestoreTo, *, asked: bool
) -> None:
    async with live_service(tmp_path / "data", sqlite_url) as service, AsyncExitStack() as stack:
        alice, bob, carol = [await login(service, name) for name in ("alice", "bob", "carol")]
        await revoke(service, carol)
        _, sealed = await origin_of(service).backup()
        dave, erin = await login(service, "dave"), await login(service, "erin")
        await revoke(service, bob)
        await revoke(service, dave)
        before = await held(service)
        # What was here is gone from now on; nats-server alone runs on.
        await service.running.reconciler.stop()
        options = Options(merge_from=[service.nats_url]) if asked else Options()
        settings, restored = await restore_to(sealed, options=options)
        assert len(restored.merged) == asked
        if asked:
            merged = restored.merged[0]
            assert list(merged.credentials) == [bob[2]]
            assert (merged.revocations, merged.unknown_keys) == (2, 1)
            assert restored.asked == ["authsvc-nats"]
        running = await start(stack, settings, service.nats_url)
        after = await held(running)
        assert after.issued_at > before.issued_at
        for key, moment in before.revocations.items():
            assert after.revocations[key] >= moment
        for who, wanted in ((alice, True), (erin, True), (bob, 0), (carol, 0), (dave, 0)):
            assert await gets_in(service.nats_url, who) == wanted
        async with running.database.reading() as session:
            rows = {row.id: row for row in await session.scalars(select(Credential))}
            dead = list(await session.scalars(select(col(DeadKey.public_key))))
        assert dead == [dave[0].public.text]
        assert {key for key, row in rows.items() if row.revoked_at} == {bob[2], carol[2]}


async def test_a_signing_key_that_was_retired_since_stays_so(
    tmp_path: Path, sqlite_url: str, restore_to: RestoreTo
) -> None:
    """Who holds a JWT by it does not get in again: it may have been stolen."""
    async with live_service(tmp_path / "data", sqlite_url) as service, AsyncExitStack() as stack:
        alice = await login(service, "alice")
        _, sealed = await origin_of(service).backup()
        for body in ({}, {"step": "retire", "confirm": True}):
            answer = await service.admin("POST", "/v1/admin/keys/rotate", json=body)
            assert answer.status_code == 200, answer.text
        before = await held(service)
        assert not await gets_in(service.nats_url, alice)
        await service.running.reconciler.stop()
        options = Options(merge_from=[service.nats_url])
        settings, restored = await restore_to(sealed, options=options)
        merged = restored.merged[0]
        assert (len(merged.retired), len(merged.made)) == (1, 1)
        running = await start(stack, settings, service.nats_url)
        after = await held(running)
        assert set(after.signing_keys) == set(merged.made)
        assert after.issued_at > before.issued_at
        assert not await gets_in(service.nats_url, alice)
        async with running.database.reading() as session:
            retired = await session.scalar(
                select(SigningKey).where(col(SigningKey.public_key) == merged.retired[0])
            )
        assert retired is not None
        assert (retired.state, retired.sealed_seed) == ("retired", b"")


async def test_one_entry_for_everybody_ends_every_nkey(
    tmp_path: Path, sqlite_url: str, restore_to: RestoreTo
) -> None:
    """Single entries went when it came: whose they were is not known any more."""
    async with live_service(tmp_path / "data", sqlite_url) as service:
        alice = await login(service, "alice")
        _, sealed = await origin_of(service).backup()
        people, now = service.running.material.people_id, int(time.time())
        async with service.running.database.writing() as session:
            await note_revocation(
                session,
                account_id=people,
                public_key="*",
                revoked_at=now,
                expires_at=now + 3600,
                now=now,
            )
        found = await service.running.reconciler.propagate(people, wait=20)
        assert found.state == "applied"
        await service.running.reconciler.stop()
        settings, restored = await restore_to(
            sealed, options=Options(merge_from=[service.nats_url])
        )
        assert list(restored.merged[0].credentials) == [alice[2]]
        database = Database(settings.database_url)
        async with database.reading() as session:
            entries = list(await session.scalars(select(Revocation)))
            account = await session.get_one(Account, people)
        await database.stop()
        assert [(entry.public_key, entry.revoked_at) for entry in entries] == [("*", now)]
        assert account.revision != account.published_revision


async def test_strangers_are_not_believed(
    tmp_path: Path, sqlite_url: str, restore_to: RestoreTo
) -> None:
    """A newer account JWT of another operator's in the folder revokes nothing here."""
    async with live_service(tmp_path / "data", sqlite_url) as service:
        await login(service, "alice")
        _, sealed = await origin_of(service).backup()
        claims = await held(service)
    claims.issued_at += 1000
    claims.revocations = {"*": claims.issued_at}
    stranger = KeyPair.generate(Prefix.OPERATOR)
    folder = tmp_path / "target" / "nats" / "accounts"
    folder.mkdir(parents=True)
    (folder / f"{claims.subject}.jwt").write_text(encode(claims, stranger))
    settings, restored = await restore_to(sealed, options=Options(force=True))
    assert restored.merged == []
    database = Database(settings.database_url)
    async with database.reading() as session:
        assert list(await session.scalars(select(Revocation))) == []
    await database.stop()
