"""API keys over HTTP: made once, listed without their text, revoked."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from sqlmodel import col

from authsvc.server.api_keys import SCOPES, digest
from authsvc.server.models import ApiKey, AuditEvent
from tests.fixtures.authsvc import LiveService

KEYS = "/v1/admin/api-keys"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def make(service: LiveService, by: str, **body: Any) -> httpx.Response:
    return await service.admin("POST", KEYS, key=by, json=body)


async def test_a_key_from_creation_to_its_end(service: LiveService) -> None:
    root = await service.api_key("admin")
    ends = int(time.time()) + 3600
    answer = await make(
        service, root, name="ci", scopes=["audit:read", "users:read"], expires_at=rfc3339(ends)
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    text = made.pop("key")
    assert text.startswith(made["prefix"])
    assert len(text) > 40
    assert made["scopes"] == ["users:read", "audit:read"]
    assert made["state"] == "active"
    assert made["last_used_at"] is None
    assert (await service.admin("GET", "/v1/admin/grants", key=text)).status_code == 200
    assert (await service.admin("GET", KEYS, key=text)).status_code == 403
    listed = await service.admin("GET", KEYS, key=root)
    assert text not in listed.text
    assert digest(text) not in listed.text
    (item,) = [item for item in listed.json()["items"] if item["id"] == made["id"]]
    assert item["last_used_at"] is not None
    assert item["expires_at"].startswith(rfc3339(ends)[:19])
    gone = await service.admin("DELETE", f"{KEYS}/{made['id']}", key=root)
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    assert (await service.admin("GET", "/v1/admin/grants", key=text)).status_code == 401
    again = await service.admin("POST", f"{KEYS}/{made['id']}/revoke", key=root)
    assert again.json() == gone.json()
    async with service.running.database.reading() as session:
        events = list(
            await session.scalars(
                select(AuditEvent)
                .where(col(AuditEvent.target_kind) == "api_key")
                .order_by(col(AuditEvent.seq))
            )
        )
    assert [(it.action, it.target_id) for it in events] == [
        ("api_key.create", made["id"]),
        ("api_key.revoke", made["id"]),
    ]
    assert text not in repr([event.model_dump() for event in events])


async def test_what_can_not_be_made(service: LiveService) -> None:
    root = await service.api_key("admin")
    good = {"name": "x", "scopes": ["users:read"]}
    for body in (
        {},
        {**good, "name": ""},
        {**good, "name": "a\u0000b"},
        {**good, "scopes": []},
        {**good, "scopes": ["users:read", "everything"]},
        {**good, "scopes": "admin"},
        {**good, "expires_at": rfc3339(time.time() - 1)},
        {**good, "expires_at": "2099-01-01T00:00:00"},
        {**good, "expires_at": 4_000_000_000},
        {**good, "expires_at": "4000000000"},
        {**good, "key": "chosen"},
    ):
        answer = await make(service, root, **body)
        assert answer.status_code == 422, body
        assert answer.json()["type"] == "urn:authsvc:problem:invalid-input"
    for scope in SCOPES:
        if scope != "admin":
            other = await service.api_key(scope)
            assert (await make(service, other, **good)).status_code == 403
            assert (await service.admin("GET", KEYS, key=other)).status_code == 403
    for path in ("key_none", "%00"):
        assert (await service.admin("DELETE", f"{KEYS}/{path}", key=root)).status_code == 404
        assert (await service.admin("POST", f"{KEYS}/{path}/revoke", key=root)).status_code == 404


async def test_pages_and_states(service: LiveService) -> None:
    root = await service.api_key("admin")
    for number in range(4):
        await service.api_key("users:read", expires_at=10**10 + number)
    names: list[str] = []
    query = "limit=2"
    for size in (2, 2, 1):
        page = (await service.admin("GET", f"{KEYS}?{query}", key=root)).json()
        assert len(page["items"]) == size
        names += [item["id"] for item in page["items"]]
        query = f"limit=2&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert len(set(names)) == 5
    text = await service.api_key("admin", expires_at=int(time.time()) - 1)
    assert (await service.admin("GET", KEYS, key=text)).status_code == 401
    items = (await service.admin("GET", KEYS, key=root)).json()["items"]
    assert [item["state"] for item in items] == ["expired"] + ["active"] * 5
    assert names == sorted(names, reverse=True)


async def test_somebody_can_always_administer(service: LiveService) -> None:
    async with service.running.database.writing() as session:
        await session.execute(update(ApiKey).values(revoked_at=1))
    first, second = await service.api_key("admin"), await service.api_key("admin")
    await service.api_key("admin", expires_at=int(time.time()) - 1)
    await service.api_key("users:write")
    items = (await service.admin("GET", KEYS, key=first)).json()["items"]
    ids = {item["prefix"]: item["id"] for item in items}
    one, two = ids[first[:14]], ids[second[:14]]
    # Each revokes the other's at the same moment: one of them stays.
    answers = await asyncio.gather(
        service.admin("DELETE", f"{KEYS}/{two}", key=first),
        service.admin("DELETE", f"{KEYS}/{one}", key=second),
    )
    async with service.running.database.reading() as session:
        alive = list(
            await session.scalars(
                select(col(ApiKey.id))
                .where(col(ApiKey.id).in_([one, two]))
                .where(col(ApiKey.revoked_at).is_(None))
            )
        )
    assert len(alive) == 1, [answer.text for answer in answers]
    left = first if alive == [one] else second
    answer = await service.admin("DELETE", f"{KEYS}/{alive[0]}", key=left)
    assert answer.status_code == 409
    assert "last API key" in answer.json()["detail"]
    assert (await service.admin("GET", KEYS, key=left)).status_code == 200
