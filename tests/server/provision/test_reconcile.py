"""From the database to every nats-server: never early, never backwards, and by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from sqlalchemy import delete, select
from sqlmodel import col

from authsvc.claims import decode_account
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import Account, Revocation, ServerState
from authsvc.server.provision.bootstrap import bootstrap
from authsvc.server.provision.reconcile import Reconciler
from authsvc.server.provision.revisions import note_revocation, raise_revision
from tests.fixtures.authsvc import LiveService


@pytest.fixture
async def shared(shared_service: LiveService) -> LiveService:
    """One for all that leave nats-server alone, with nothing revoked."""
    running = shared_service.running
    async with running.database.writing() as session:
        await session.execute(delete(Revocation))
        await raise_revision(session, running.material.people_id)
    assert (await running.reconciler.propagate(running.material.people_id)).state == "applied"
    return shared_service


def user_key() -> str:
    return KeyPair.generate(Prefix.USER).public.text


async def revoke(service: LiveService, key: str, at: int | None = None, ends: int = 3600) -> None:
    now = int(time.time())
    async with service.running.database.writing() as session:
        await note_revocation(
            session,
            account_id=service.running.material.people_id,
            public_key=key,
            revoked_at=at or now,
            expires_at=now + ends,
            now=now,
        )


async def people(service: LiveService) -> Account:
    async with service.running.database.reading() as session:
        return await session.get_one(Account, service.running.material.people_id)


async def test_iat_strictly_rises(shared: LiveService) -> None:
    """Ten changes in far less than ten seconds: each JWT is newer than the one before."""
    seen = []
    for _ in range(10):
        await revoke(shared, user_key())
        found = await shared.running.reconciler.propagate(shared.running.material.people_id)
        assert found.state == "applied"
        account = await people(shared)
        assert decode_account(account.jwt).issued_at == account.issued_at
        seen.append(account.issued_at)
    assert seen == sorted(set(seen))
    assert len(decode_account((await people(shared)).jwt).revocations) == 10


async def test_changes_at_once_share_rounds_and_none_is_lost(shared: LiveService) -> None:
    keys = [user_key() for _ in range(30)]

    async def change(key: str) -> str:
        await revoke(shared, key)
        people_id = shared.running.material.people_id
        found = await shared.running.reconciler.propagate(people_id, wait=15)
        return found.state

    assert set(await asyncio.gather(*(change(key) for key in keys))) == {"applied"}
    assert decode_account((await people(shared)).jwt).revocations.keys() == set(keys)


async def test_pending_while_the_server_is_away_applied_when_it_is_back(
    service: LiveService,
) -> None:
    reconciler, people_id = service.running.reconciler, service.running.material.people_id
    pid = service.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        key = user_key()
        await revoke(service, key)
        found = await reconciler.propagate(people_id, wait=1)
        assert found.state == "pending"
        assert [held.applied for held in found.servers] == [False]
    finally:
        os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(15):
        while (await reconciler.propagate(people_id, wait=1)).state != "applied":
            pass
    assert key in decode_account((await people(service)).jwt).revocations


async def test_a_server_that_comes_back_is_told_at_once(service: LiveService) -> None:
    key = user_key()
    await revoke(service, key)
    await service.running.reconciler.propagate(service.running.material.people_id)
    async with service.running.database.reading() as session:
        before = set(await session.scalars(select(col(ServerState.server_id))))
    pid = service.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while True:
            held = service.running.reconciler.current.get(service.running.material.people_id)
            if held and held.state == "applied" and held.servers[0].id not in before:
                break
            await asyncio.sleep(0.02)


async def test_a_revocation_never_moves_back(shared: LiveService) -> None:
    key, now = user_key(), int(time.time())
    await revoke(shared, key, now)
    await revoke(shared, key, now - 100)
    await shared.running.reconciler.propagate(shared.running.material.people_id)
    assert decode_account((await people(shared)).jwt).revocations[key] == now


async def test_needless_revocations_are_pruned(shared: LiveService) -> None:
    old, kept = user_key(), user_key()
    await revoke(shared, old, ends=-1)
    await revoke(shared, kept)
    await shared.running.reconciler.propagate(shared.running.material.people_id)
    assert decode_account((await people(shared)).jwt).revocations.keys() == {kept}
    async with shared.running.database.reading() as session:
        assert list(await session.scalars(select(col(Revocation.public_key)))) == [kept]


async def test_without_a_server_everything_is_pending(shared: LiveService) -> None:
    alone = Reconciler(shared.running.database, shared.running.keystore, None)
    await alone.start()
    try:
        found = await alone.propagate(shared.running.material.people_id, wait=0.5)
        assert (found.state, found.servers) == ("pending", [])
    finally:
        await alone.stop()


async def test_bootstrap_happens_once(shared: LiveService) -> None:
    async with shared.running.database.writing() as session:
        again = await bootstrap(
            session, shared.running.keystore, account_name="other", now=int(time.time())
        )
    assert again == shared.running.material
