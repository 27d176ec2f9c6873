"""Signing keys by the admin API: prepare, activate, retire, and who is cut off."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import Creds, decode_account, decode_user
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import Account, AuditEvent, SigningKey
from authsvc.server.provision.resolver import Resolver
from authsvc.server.provision.revisions import raise_revision
from authsvc.server.rotation import read_line
from tests.fixtures.authsvc import LiveService, StartService
from tests.security.raw import RawClient

PATH = "/v1/admin/keys"
# Where nats-server is what is asked; tests/server/rotation has both kinds.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
# Where those of tests/server/rotation ask SQLite.
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    """Wait for something that happens by itself."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - it happens elsewhere
            await asyncio.sleep(0.05)


async def rotate(service: LiveService, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", f"{PATH}/rotate", "keys:rotate", json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def keys(service: LiveService, account: str = "people") -> list[dict[str, Any]]:
    """The account's signing keys, the oldest first."""
    answer = await service.admin("GET", f"{PATH}?limit=1000", "keys:rotate")
    assert answer.status_code == 200, answer.text
    return [
        item
        for item in answer.json()["items"]
        if (item["account"], item["purpose"]) == (account, "signing")
    ]


async def listed(service: LiveService) -> set[str]:
    """The signing keys that the people's account JWT has now."""
    async with service.running.database.reading() as session:
        account = await session.get_one(Account, service.running.material.people_id)
    return set(decode_account(account.jwt).signing_keys)


async def connect(service: LiveService, jwt: str, key: KeyPair) -> RawClient:
    host, port = service.nats_url.removeprefix("nats://").split(":")
    return await RawClient.connect(host, int(port), Creds(jwt, key))


async def closed(client: RawClient) -> bool:
    """Whether nats-server ended the connection."""
    return "closed" in client.errors


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is due is done soon."""
    monkeypatch.setattr("authsvc.server.tending._TEND_SECONDS", 0.1)


@pytest.fixture
async def one_key(emptied_service: LiveService) -> LiveService:
    """The module's service, where the people's account has one signing key, as a new one has."""
    people = emptied_service.running.material.people_id
    async with emptied_service.running.database.writing() as session:
        line = await read_line(session, people)
        assert line.signer is not None
        for key in line.keys:
            if key is not line.signer:
                await session.delete(key)
        await session.flush()
        line.signer.generation = 1
        await raise_revision(session, people)
    found = await emptied_service.running.reconciler.propagate(people, wait=20)
    assert found.state == "applied"
    return emptied_service


async def test_in_one_go(one_key: LiveService) -> None:
    service = one_key
    key = KeyPair.generate(Prefix.USER)
    before = (await service.login("alice@example.com", key)).json()["jwt"]
    (old,) = await keys(service)
    assert (old["signs"], old["credentials"], old["retire_after"]) == (True, 1, None)
    new = await rotate(service)
    assert new["propagation"]["state"] == "applied"
    assert (new["state"], new["signs"], new["generation"]) == ("active", True, 2)
    assert new["automatic"]
    assert await listed(service) == {old["public_key"], new["public_key"]}
    # By the new one from now on; what the old one signed still renews.
    assert decode_user(before).issuer == old["public_key"]
    renewed = (await service.renew(before, key)).json()["jwt"]
    assert decode_user(renewed).issuer == new["public_key"]
    first, second = await keys(service)
    assert (first["state"], first["signs"], first["credentials"]) == ("active", False, 0)
    assert first["superseded_at"] == second["activated_at"]
    assert first["retire_after"] > first["superseded_at"]
    assert second["credentials"] == 1


async def test_step_by_step(one_key: LiveService) -> None:
    service = one_key
    (old,) = await keys(service)
    none = await rotate(service, 409, step="activate")
    assert "prepare one first" in none["detail"]
    prepared = await rotate(service, step="prepare")
    assert (prepared["state"], prepared["signs"]) == ("prepared", False)
    assert await listed(service) == {old["public_key"], prepared["public_key"]}
    jwt = (await service.login("alice@example.com")).json()["jwt"]
    assert decode_user(jwt).issuer == old["public_key"]
    again = await rotate(service, step="prepare")
    assert again["id"] == prepared["id"]
    await service.running.rotation.tend(int(time.time()))  # does not activate it by itself
    assert (await keys(service))[-1]["state"] == "prepared"
    active = await rotate(service, step="activate")
    assert (active["id"], active["signs"]) == (prepared["id"], True)
    async with service.running.database.reading() as session:
        events = await session.scalars(
            select(AuditEvent)
            .where(col(AuditEvent.target_id) == prepared["id"])
            .order_by(col(AuditEvent.seq))
        )
        found = [(event.action, event.actor_kind) for event in events]
    assert found == [("key.prepare", "api_key"), ("key.activate", "api_key")]


async def test_retiring_early_names_who_is_cut_off_and_asks(one_key: LiveService) -> None:
    service = one_key
    key = KeyPair.generate(Prefix.USER)
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    await service.login("bob@example.com")
    client = await connect(service, jwt, key)
    (old,) = await keys(service)
    alone = await rotate(service, 409, step="retire")
    assert "no key to retire" in alone["detail"]
    new = await rotate(service)
    other = KeyPair.generate(Prefix.USER)
    fresh = (await service.login("carol@example.com", other)).json()["jwt"]
    undisturbed = await connect(service, fresh, other)
    refused = await rotate(service, 409, step="retire")
    assert refused["type"] == "urn:authsvc:problem:would-cut-off"
    assert refused["credentials"] == 2
    assert refused["users"] == ["alice@example.com", "bob@example.com"]
    signs = await rotate(service, 409, step="retire", public_key=new["public_key"], confirm=True)
    assert "rotate first" in signs["detail"]

    gone = await rotate(service, step="retire", public_key=old["public_key"], confirm=True)
    assert (gone["state"], gone["held"]) == ("retired", False)
    assert gone["propagation"]["state"] == "applied"
    assert await listed(service) == {new["public_key"]}
    await until(lambda: closed(client))
    assert await undisturbed.refused() == []
    back = await connect(service, jwt, key)
    assert await closed(back)
    assert (await service.renew(jwt, key)).status_code == 401
    assert (await service.login("alice@example.com", key)).status_code == 201
    twice = await rotate(service, 409, step="retire", public_key=old["public_key"])
    assert "already" in twice["detail"]
    async with service.running.database.reading() as session:
        row = await session.get_one(SigningKey, old["id"])
        event = (
            await session.scalars(select(AuditEvent).where(col(AuditEvent.action) == "key.retire"))
        ).one()
    assert row.sealed_seed == b""
    assert event.details["early"] is True
    assert event.details["credentials"] == 2
    for one in (client, undisturbed, back):
        await one.close()


async def test_a_prepared_key_can_be_taken_back(one_key: LiveService) -> None:
    service = one_key
    (old,) = await keys(service)
    key = await rotate(service, step="prepare")
    gone = await rotate(service, step="retire", public_key=key["public_key"])
    assert gone["state"] == "retired"
    assert await listed(service) == {old["public_key"]}
    assert (await rotate(service))["generation"] == 3


@on_postgresql
async def test_the_former_key_retires_by_itself(
    start_service: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authsvc.server.rotation.lines.MARGIN", 0)
    service = await start_service(credential_ttl=2, renew_grace=1)
    key = KeyPair.generate(Prefix.USER)
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    (old,) = await keys(service)
    new = await rotate(service)

    async def gone() -> bool:
        return old["public_key"] not in await listed(service)

    await until(gone)
    assert time.time() >= decode_user(jwt).expires
    assert (await service.renew(jwt, key)).status_code == 401
    async with service.running.database.reading() as session:
        event = (
            await session.scalars(select(AuditEvent).where(col(AuditEvent.action) == "key.retire"))
        ).one()
    assert (event.actor_kind, event.details["early"]) == ("service", False)
    assert (await keys(service))[1]["id"] == new["id"]


async def activate_later(service: LiveService) -> dict[str, Any]:
    await until(lambda: prepared(service))
    return await rotate(service, 409, step="activate")


async def prepared(service: LiveService) -> bool:
    return bool((await keys(service))[-1]["state"] == "prepared")


@on_sqlite
async def test_while_nats_is_away_the_key_waits_and_then_signs_by_itself(
    service: LiveService,
) -> None:
    (old,) = await keys(service)
    pid = service.supervisor.pid
    assert pid is not None

    os.kill(pid, signal.SIGSTOP)
    try:
        # Side by side: each waits for the servers up to its bound.
        waiting, refused = await asyncio.gather(rotate(service), activate_later(service))
        assert waiting["propagation"]["state"] == "pending"
        assert (waiting["state"], waiting["signs"]) == ("prepared", False)
        assert "authsvc-nats" in refused["detail"]
        jwt = (await service.login("alice@example.com")).json()["jwt"]
        assert decode_user(jwt).issuer == old["public_key"]
    finally:
        os.kill(pid, signal.SIGCONT)

    async def signs() -> bool:
        return bool((await keys(service))[-1]["signs"])

    await until(signs)
    assert (await keys(service))[-1]["id"] == waiting["id"]


async def test_every_key_is_listed_and_no_seed(one_key: LiveService) -> None:
    service = one_key
    first = await service.admin("GET", f"{PATH}?limit=6", "keys:rotate")
    page = first.json()
    second = await service.admin("GET", f"{PATH}?cursor={page['next_cursor']}", "keys:rotate")
    items = page["items"] + second.json()["items"]
    assert second.json()["next_cursor"] is None
    found = sorted((it["owner"], it["purpose"], it["account"] or "") for it in items)
    assert found == sorted(
        [
            ("operator", "identity", ""),
            ("operator", "signing", ""),
            *(("account", "identity", kind) for kind in ("people", "mail", "system")),
            *(("account", "signing", kind) for kind in ("people", "mail", "system")),
            ("user", "login", "system"),
            ("user", "login", "mail"),
        ]
    )
    assert all(it["held"] for it in items)
    async with service.running.database.reading() as session:
        rows = list(await session.scalars(select(SigningKey)))
    for row in rows:
        seed = service.running.keystore.open(row.sealed_seed, row.public_key).seed
        assert seed not in first.text + second.text


@on_sqlite
@pytest.mark.parametrize("account", ["mail", "system"])
async def test_the_services_own_accounts_rotate_too(service: LiveService, account: str) -> None:
    (old,) = await keys(service, account)
    new = await rotate(service, account=account)
    assert (new["signs"], new["propagation"]["state"]) == (True, "applied")
    if account == "system":
        # The service's own connection goes on with a JWT by the new key.
        resolver = service.running.reconciler._resolver
        assert isinstance(resolver, Resolver)

        async def renewed() -> bool:
            return bool(decode_user(resolver.jwt).issuer == new["public_key"])

        await until(renewed)
    gone = await rotate(service, account=account, step="retire", confirm=True)
    assert gone["id"] == old["id"]
    changed = await rotate(service)
    assert changed["propagation"]["state"] == "applied"


async def test_refusals(one_key: LiveService) -> None:
    service = one_key
    await rotate(service, 404, account="nobody")
    await rotate(service, 404, account="acc_\x00")
    await rotate(service, 404, account="acc_nobody", step="retire")
    await rotate(service, 404, step="retire", public_key="A" * 56)
    await rotate(service, 422, step="other")
    await rotate(service, 422, step="prepare", confirm=True)
    await rotate(service, 422, public_key="A" * 56)
    await rotate(service, 422, seed="x")
    for method, path in (("GET", PATH), ("POST", f"{PATH}/rotate")):
        answer = await service.admin(method, path, "users:write", "nats:push", "audit:read")
        assert answer.status_code == 403
    assert (await service.http.get(PATH)).status_code == 401
