"""Administrators and credentials of any user, over real HTTP, on both databases."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from nats.errors import Error as NatsError
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import decode_user, parse_creds
from authsvc.nkey import KeyPair, Prefix, PublicKey
from authsvc.server.models import AuditEvent, Credential, Revocation
from authsvc.server.policy import permissions
from tests.fixtures.authsvc import LiveService
from tests.server.api.admin.live import connected, user_key

USERS = "/v1/admin/users"
ALICE = f"{USERS}/alice@example.com"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def create(service: LiveService, username: str = "alice@example.com") -> str:
    answer = await service.admin("POST", USERS, json={"username": username})
    return str(answer.json()["id"])


async def test_issue_for_a_key(service: LiveService) -> None:
    user_id = await create(service)
    key, admin = user_key(), await service.api_key("credentials:issue")
    body: dict[str, Any] = {"public_key": key.public.text, "name": "robot", "ttl": 60}
    answer = await service.admin("POST", f"{ALICE}/credentials", key=admin, json=body)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    login = (await service.login("bob@example.com")).json()
    assert found.keys() == login.keys()
    assert found["username"] == "alice@example.com"
    assert (found["name"], found["public_key"]) == ("robot", key.public.text)
    claims = decode_user(found["jwt"])
    assert claims.permissions == permissions("alice@example%2Ecom")
    assert claims.expires == claims.issued_at + 60
    async with connected(service, found["jwt"], key) as connection:
        await connection.client.flush()
    listed = (await service.admin("GET", f"{USERS}/{user_id}/credentials")).json()["items"]
    assert [(it["id"], it["method"], it["last_used_at"]) for it in listed] == [
        (found["id"], "admin", None)
    ]
    async with service.running.database.reading() as session:
        event = await session.scalar(
            select(AuditEvent).where(col(AuditEvent.target_id) == found["id"])
        )
    assert event is not None
    assert (event.action, event.actor_kind) == ("credential.issue", "api_key")
    again = await service.admin("POST", f"{ALICE}/credentials", json=body)
    assert again.json()["id"] == found["id"]
    renewed = await service.renew(found["jwt"], key)
    assert (renewed.status_code, renewed.json()["id"]) == (201, found["id"])


async def test_a_key_made_here_is_shown_once(service: LiveService) -> None:
    await create(service)
    body = {"app": "Chat", "name": "one"}
    answer = await service.admin("POST", f"{ALICE}/credentials", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found = answer.json()
    creds = parse_creds(found["creds"])
    assert creds.jwt == found["jwt"]
    assert creds.key.seed == found["seed"]
    assert creds.key.public.text == found["public_key"]
    narrowed = permissions("alice@example%2Ecom", app="chat")
    assert decode_user(found["jwt"]).permissions == narrowed
    async with connected(service, creds.jwt, creds.key) as connection:
        await connection.client.flush()
    empty = await service.admin("POST", f"{ALICE}/credentials")
    assert empty.status_code == 201
    seeds = (found["seed"], empty.json()["seed"])
    assert seeds[0] != seeds[1]
    # Nowhere in any row of any table.
    async with service.running.database.reading() as session:
        for table in Credential.metadata.sorted_tables:
            rows = (await session.execute(table.select())).all()
            assert not any(seed[2:] in repr(row) for row in rows for seed in seeds), table.name


async def test_a_repeat_shows_no_secret(service: LiveService) -> None:
    await create(service)
    admin = await service.api_key("credentials:issue", "credentials:revoke")
    headers = {"Idempotency-Key": "k"}
    first, second = [
        await service.admin("POST", f"{ALICE}/credentials", key=admin, headers=headers)
        for _ in range(2)
    ]
    body = second.json()
    assert (second.status_code, body["seed"], body["creds"]) == (201, None, None)
    assert body["secret_shown"] is True
    assert body["id"] == first.json()["id"]
    path = f"{ALICE}/credentials:revoke"
    counts = [
        (await service.admin("POST", path, key=admin, headers=headers)).json()["revoked"]
        for _ in range(2)
    ]
    assert counts == [1, 1]
    listed = (await service.admin("GET", f"{ALICE}/credentials")).json()["items"]
    assert [it["state"] for it in listed] == ["revoked"]


async def test_one_key_from_two_sides(service: LiveService) -> None:
    """Whoever is second gets the credential that there is, or a clear refusal."""
    await create(service)
    for _ in range(5):
        key = user_key()
        answers = await asyncio.gather(
            *(
                service.admin("POST", f"{ALICE}/credentials", json={"public_key": key.public.text})
                for _ in range(3)
            ),
            service.login("alice@example.com", key),
        )
        assert {it.status_code for it in answers} <= {201, 409}, [it.text for it in answers]
        assert len({it.json()["id"] for it in answers if it.status_code == 201}) == 1


UNSOUND = [bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\xec" + b"\xff" * 30 + b"\x7f"]
"""Keys of small order, and one that is no point: whoever likes makes signatures that hold."""


async def test_keys_that_can_not_be_used(service: LiveService) -> None:
    await create(service)
    taken, dead = user_key(), user_key()
    await service.login("bob@example.com", taken)
    mine = (await service.login("alice@example.com", dead)).json()
    await service.admin("POST", f"/v1/admin/credentials/{mine['id']}/revoke")
    for public_key, status, slug in (
        (taken.public.text, 409, "key-taken"),
        (dead.public.text, 409, "key-revoked"),
        (KeyPair.generate(Prefix.ACCOUNT).public.text, 422, "invalid-input"),
        ("UA", 422, "invalid-input"),
        (dead.seed, 422, "invalid-input"),
        *((PublicKey(Prefix.USER, raw).text, 422, "invalid-input") for raw in UNSOUND),
    ):
        answer = await service.admin(
            "POST", f"{ALICE}/credentials", json={"public_key": public_key}
        )
        assert answer.status_code == status, answer.text
        assert answer.json()["type"].endswith(slug)
        assert dead.seed not in answer.text
    nobody = await service.admin("POST", f"{USERS}/carol@example.com/credentials")
    assert nobody.status_code == 404
    await service.admin("POST", f"{ALICE}/disable")
    disabled = await service.admin("POST", f"{ALICE}/credentials")
    assert disabled.status_code == 409
    assert "enable the user first" in disabled.json()["detail"]


async def test_revoke_one(service: LiveService) -> None:
    key, other = user_key(), user_key()
    mine = (await service.login("alice@example.com", key)).json()
    kept = (await service.login("alice@example.com", other)).json()
    path = f"/v1/admin/credentials/{mine['id']}/revoke"
    async with (
        connected(service, mine["jwt"], key) as cut,
        connected(service, kept["jwt"], other) as alive,
    ):
        answer = await service.admin("POST", path, "credentials:revoke")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["state"], body["propagation"]["state"]) == ("revoked", "applied")
        await cut.cut_by()
        await alive.client.flush()
    assert (await service.login("alice@example.com", key)).status_code == 409
    again = await service.admin("POST", path)
    assert again.json()["revoked_at"] == body["revoked_at"]
    for unknown in ("crd_0", "%00", "crd_" + "0" * 26):
        missing = await service.admin("POST", f"/v1/admin/credentials/{unknown}/revoke")
        assert missing.status_code == 404


async def test_revoke_all_or_what_is_older(service: LiveService) -> None:
    keys = [user_key() for _ in range(4)]
    made = [(await service.login("alice@example.com", key)).json() for key in keys]
    bob = user_key()
    his = (await service.login("bob@example.com", bob)).json()
    now = int(time.time())
    async with service.running.database.writing() as session:
        for number, body in enumerate(made):
            row = await session.get_one(Credential, body["id"])
            row.created_at = now - 100 + number * 10
        row.alive_until = row.expires_at = now - 1
    path = f"{ALICE}/credentials:revoke"
    # The oldest was renewed since; its key is as old as before.
    assert (await service.renew(made[0]["jwt"], keys[0])).status_code == 201
    moment = datetime.fromtimestamp(now - 80, UTC).isoformat()
    admin = await service.api_key("credentials:revoke")
    older = await service.admin("POST", path, key=admin, json={"issued_before": moment})
    assert older.status_code == 200, older.text
    assert older.json()["revoked"] == 2
    assert older.json()["propagation"]["state"] == "applied"
    states = (await service.admin("GET", f"{ALICE}/credentials")).json()["items"]
    assert [it["state"] for it in reversed(states)] == ["revoked", "revoked", "active", "expired"]
    with pytest.raises(NatsError):
        async with connected(service, made[0]["jwt"], keys[0]):
            pass
    async with connected(service, made[2]["jwt"], keys[2]) as connection:
        everything = await service.admin("POST", path)
        assert everything.json()["revoked"] == 2
        await connection.cut_by()
    for key in keys:
        assert (await service.login("alice@example.com", key)).status_code == 409
    assert (await service.admin("POST", path)).json()["revoked"] == 0
    assert (await service.renew(his["jwt"], bob)).status_code == 201
    async with service.running.database.reading() as session:
        entries = set(await session.scalars(select(col(Revocation.public_key))))
    assert entries == {key.public.text for key in keys[:3]}  # the fourth had no live JWT
    for wrong in ("2026-01-01", "2026-01-01T00:00:00", "yesterday", 7):
        refused = await service.admin("POST", path, json={"issued_before": wrong})
        assert refused.status_code == 422, wrong


async def test_list_of_all_pages_and_filters(service: LiveService) -> None:
    made = []
    for n in range(6):
        made.append((await service.login(f"user{n % 2}@example.com")).json()["id"])
        await asyncio.sleep(0.002)  # ids of one millisecond have no order
    await service.admin("POST", f"/v1/admin/credentials/{made[1]}/revoke")
    async with service.running.database.writing() as session:
        (await session.get_one(Credential, made[2])).expires_at = 1000

    one = await service.admin("GET", f"/v1/admin/credentials/{made[1]}", "users:read")
    assert (one.json()["id"], one.json()["state"]) == (made[1], "revoked")
    for unknown in ("crd_none", "%00"):
        none = await service.admin("GET", f"/v1/admin/credentials/{unknown}")
        assert none.status_code == 404

    async def walk(query: str) -> list[str]:
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            path = f"/v1/admin/credentials?limit=2{query}" + (f"&cursor={cursor}" if cursor else "")
            answer = await service.admin("GET", path, "users:read")
            assert answer.status_code == 200, answer.text
            items = answer.json()["items"]
            seen += [it["id"] for it in items]
            assert all(it["username"].startswith("user") and "jwt" not in it for it in items)
            cursor = answer.json()["next_cursor"]
        return list(reversed(seen))

    assert await walk("") == made
    assert await walk("&user=user1@example.com") == made[1::2]
    assert await walk("&state=revoked") == made[1:2]
    assert await walk("&state=expired") == made[2:3]
    assert await walk("&state=active&user=user0@example.com") == [made[0], made[4]]
    for query, status in (("user=nobody@x", 404), ("state=x", 422), ("cursor=x", 422)):
        answer = await service.admin("GET", f"/v1/admin/credentials?{query}")
        assert answer.status_code == status
