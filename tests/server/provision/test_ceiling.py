"""The account JWT's ceiling: warned of, never passed, and never silently."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import insert, select
from sqlmodel import col
from structlog.testing import capture_logs

from authsvc.claims import decode_account, decode_user
from authsvc.errors import AccountFull
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import Account, AuditEvent, Revocation, new_id
from authsvc.server.provision.ceiling import CEILING_BYTES, MOST_REVOCATIONS, warning_for
from authsvc.server.provision.revisions import note_revocation, raise_revision
from authsvc.server.sessions.supersede import MOST_ENTRIES
from tests.fixtures.authsvc import LiveService


def user_key() -> str:
    return KeyPair.generate(Prefix.USER).public.text


async def fill(service: LiveService, count: int, now: int) -> None:
    """Add so many revocations of credentials that live for an hour."""
    account_id = service.running.material.people_id
    async with service.running.database.writing() as session:
        rows = [
            {
                "id": new_id("rev"),
                "account_id": account_id,
                "public_key": user_key(),
                "revoked_at": now,
                "expires_at": now + 3600,
                "created_at": now,
            }
            for _ in range(count)
        ]
        await session.execute(insert(Revocation), rows)
        await raise_revision(session, account_id)


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


async def people(service: LiveService) -> Account:
    async with service.running.database.reading() as session:
        return await session.get_one(Account, service.running.material.people_id)


async def test_a_full_account_is_warned_of_pushed_and_refuses_more(
    emptied_service: LiveService,
) -> None:
    service = emptied_service
    now, reconciler = int(time.time()), service.running.reconciler
    people_id = service.running.material.people_id
    with capture_logs() as logs:
        await fill(service, MOST_REVOCATIONS // 2 + 400, now)
        assert (await reconciler.propagate(people_id)).state == "applied"
    assert any("over 50 %" in entry["event"] for entry in logs)
    status = (await service.admin("GET", "/v1/admin/nats/status", "users:read")).json()
    (account,) = [item for item in status["accounts"] if item["kind"] == "people"]
    assert "over 50 %" in account["warnings"][0]
    await fill(service, MOST_REVOCATIONS - account["revocations"] - 1, now)
    known, last = user_key(), user_key()
    await revoke(service, known)
    # The fullest there can be is one that nats-server takes, answers for and looks up.
    assert (await reconciler.propagate(people_id, wait=20)).state == "applied"
    jwt = (await people(service)).jwt
    assert CEILING_BYTES * 8 // 10 < len(jwt) < CEILING_BYTES
    with pytest.raises(AccountFull, match="no room for more"):
        await revoke(service, last)
    await revoke(service, known)
    await revoke(service, "*")
    assert (await reconciler.propagate(people_id, wait=20)).state == "applied"


async def test_a_revocation_always_has_room(emptied_service: LiveService) -> None:
    """Past the most entries everybody renews once, and one entry takes the place of all."""
    service = emptied_service
    people_id = service.running.material.people_id
    alice, bob = [KeyPair.generate(Prefix.USER) for _ in range(2)]
    credential = (await service.login("alice@example.com", alice)).json()
    other = (await service.login("bob@example.com", bob)).json()
    await fill(service, MOST_ENTRIES, int(time.time()))
    path = f"/v1/credentials/{credential['id']}"
    answer = await service.call("DELETE", path, "DPoP", credential["jwt"], alice)
    assert answer.status_code == 200
    assert (await service.running.reconciler.propagate(people_id, wait=20)).state == "applied"
    revocations = decode_account((await people(service)).jwt).revocations
    assert list(revocations) == ["*"]
    assert revocations["*"] >= decode_user(credential["jwt"]).issued_at
    renewed = (await service.renew(other["jwt"], bob)).json()
    assert decode_user(renewed["jwt"]).issued_at > revocations["*"]
    assert (await service.renew(credential["jwt"], alice)).status_code == 409
    async with service.running.database.reading() as session:
        actions = list(await session.scalars(select(col(AuditEvent.action))))
    assert actions.count("account.supersede") == 1
    again = (await service.login("bob@example.com", KeyPair.generate(Prefix.USER))).json()
    path = f"/v1/credentials/{again['id']}"
    assert (await service.call("DELETE", path, "DPoP", renewed["jwt"], bob)).status_code == 200
    revocations = decode_account((await people(service)).jwt).revocations
    assert set(revocations) == {"*", again["public_key"]}


def test_each_step_is_told_once() -> None:
    half, most = CEILING_BYTES // 2, CEILING_BYTES * 8 // 10
    assert warning_for(half - 1) is None
    assert "over 50 %" in str(warning_for(half))
    assert warning_for(half + 1, before=half) is None
    assert "over 80 %" in str(warning_for(most, before=half))
    assert warning_for(most + 1, before=most) is None
