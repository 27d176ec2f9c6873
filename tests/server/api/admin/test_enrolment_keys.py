"""Enrolment keys over HTTP, from creation to the machines that came by them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from sqlmodel import col

from authsvc.nkey import KeyPair, Prefix
from authsvc.server.login import enrolment_digest, fits
from authsvc.server.models import AuditEvent, Credential, Enrolment, EnrolmentKey
from tests.fixtures.authsvc import LiveService, live_service

KEYS = "/v1/admin/enrolment-keys"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def make(service: LiveService, *scopes: str, **body: Any) -> httpx.Response:
    return await service.admin("POST", KEYS, *scopes, json=body)


async def key_for(service: LiveService, **body: Any) -> str:
    answer = await make(service, **body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


async def test_a_key_from_creation_to_its_end(service: LiveService) -> None:
    told = (await service.http.get("/.well-known/authsvc")).json()["login_methods"]
    assert [method["name"] for method in told] == ["syftbox"]
    answer = await make(
        service, name="the roof", username="Sensor-7", tags=["roof", "roof", "berlin"]
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    text = made.pop("key")
    assert text.startswith(made["prefix"])
    assert (made["username"], made["tags"], made["max_uses"], made["uses"], made["state"]) == (
        *("sensor-7", ["roof", "berlin"]),
        *(1, 0, "active"),
    )
    told = (await service.http.get("/.well-known/authsvc")).json()["login_methods"]
    assert told[-1] == {"name": "enrolment", "prefix": "authsvc_enrol_"}
    machine = KeyPair.generate(Prefix.USER)
    enrolled = await service.login("sensor", machine, token=text, method="enrolment", name="pi")
    assert enrolled.status_code == 201, enrolled.text
    assert enrolled.json()["username"] == "sensor-7"
    # The same machine logs in again, by the key alone; no other one does.
    again = await service.login("sensor", machine, token=text)
    assert (again.status_code, again.json()["id"]) == (201, enrolled.json()["id"])
    assert (await service.login("other", token=text)).status_code == 401
    listed = await service.admin("GET", f"{KEYS}?tag=roof", "users:read")
    (item,) = listed.json()["items"]
    assert (item["uses"], item["state"], item["last_used_at"] is not None) == (1, "used", True)
    assert text not in listed.text
    assert enrolment_digest(text) not in listed.text
    for tag in ("ro", "roo_", "Berlin"):
        found = await service.admin("GET", f"{KEYS}?tag={tag}")
        assert found.json().get("items", []) == [], tag
    gone = await service.admin("DELETE", f"{KEYS}/{made['id']}", "users:write")
    assert (gone.status_code, gone.json()["state"]) == (200, "revoked")
    assert (await service.login("sensor", machine, token=text)).status_code == 401
    assert (await service.admin("POST", f"{KEYS}/{made['id']}/revoke")).json() == gone.json()
    # What it has goes on until its session ends.
    renewed = await service.renew(enrolled.json()["jwt"], machine)
    assert renewed.status_code == 201
    async with service.running.database.reading() as session:
        rows = list(await session.scalars(select(AuditEvent).order_by(col(AuditEvent.seq))))
    told = [(row.action, row.details) for row in rows if row.action.startswith("enrolment_key")]
    assert [action for action, _ in told] == ["enrolment_key.create", "enrolment_key.revoke"]
    issued = [row.details for row in rows if row.action == "credential.issue"]
    assert [it["enrolment"] for it in issued] == [made["id"]] * 2
    assert {it["tags"] for it in issued} == {"roof,berlin"}
    assert {it["method"] for it in issued} == {"enrolment"}
    assert text not in repr([row.model_dump() for row in rows])


async def test_a_pattern_is_for_several_users(service: LiveService) -> None:
    text = await key_for(service, pattern="sensor-*", max_uses=None)
    unnamed = await service.login("x", token=text)
    assert (unnamed.status_code, "sensor-*" in unnamed.json()["detail"]) == (403, True)
    for number in range(3):
        answer = await service.login("x", token=text, username=f"Sensor-{number}")
        assert (answer.status_code, answer.json()["username"]) == (201, f"sensor-{number}")
    # Another machine of a user who came by the key.
    assert (await service.login("x", token=text, username="sensor-1")).status_code == 201
    for name in (
        "sensor",
        "my-sensor-1",
        "alice@example.com",
        "sensor-1@example.com",
        "sensor-1\n.",
    ):
        refused = await service.login("x", token=text, username=name)
        assert refused.status_code == (422 if "\n" in name else 403), name
    # Nor users who were there before, unless it is made so.
    await service.admin("POST", "/v1/admin/users", json={"username": "sensor-9", "kind": "service"})
    taken = await service.login("x", token=text, username="sensor-9")
    assert (taken.status_code, "existing" in taken.json()["detail"]) == (403, True)
    text = await key_for(service, pattern="sensor-*", max_uses=None, existing=True)
    assert (await service.login("x", token=text, username="sensor-9")).status_code == 201
    text = await key_for(service, pattern="*@machines.example", max_uses=2)
    answer = await service.login("x", token=text, username="a.b@machines.example")
    assert answer.json()["username"] == "a.b@machines.example"
    assert (
        await service.login("x", token=text, username="a@x@machines.example")
    ).status_code == 403


@pytest.mark.parametrize(
    ("pattern", "name", "good"),
    [
        ("a-*", "a-", True),
        ("a-*", "a-b.c/d", True),
        ("a-*", "b-a-", False),
        ("*", "x@y", False),
        ("*@y", "x@y", True),
        ("*@y", "x@yy", False),
        ("**", "x", True),
        ("a.*", "abc", False),
        ("a*c*", "abbcdd", True),
        ("[a-z]*", "b", False),
    ],
)
def test_patterns(pattern: str, name: str, good: bool) -> None:  # noqa: FBT001
    assert fits(pattern, name) is good


async def test_who_may_make_what(service: LiveService) -> None:
    writer = ("users:write",)
    assert (await make(service, *writer, username="sensor")).json()["existing"] is False
    assert (await make(service, *writer, pattern="sensor-*")).status_code == 201
    for body in (
        {"username": "alice@example.com"},
        {"pattern": "*@example.com"},
        {"username": "sensor", "existing": True},
    ):
        refused = await make(service, *writer, **body)
        assert (refused.status_code, refused.json()["type"].split(":")[-1]) == (
            *(403, "scope-missing"),
        )
        assert (await make(service, *writer, "credentials:issue", **body)).status_code == 201
    both = await make(service, *writer, "credentials:issue", username="sensor")
    assert both.json()["existing"] is True
    for scopes in (("users:read",), ("credentials:issue",)):
        assert (await make(service, *scopes, username="sensor")).status_code == 403


async def test_what_can_not_be_made(service: LiveService) -> None:
    root = await service.api_key("admin")
    for body in (
        {},
        {"username": "a", "pattern": "b*"},
        {"pattern": "b"},
        {"username": ""},
        {"username": "a b"},
        {"pattern": "\u212a*"},
        {"username": "a", "max_uses": 0},
        {"username": "a", "max_uses": True},
        {"username": "a", "tags": ["a b"]},
        {"username": "a", "tags": ['"']},
        {"username": "a", "expires_in": 0},
        {"username": "a", "expires_at": "2020-01-01T00:00:00Z"},
        {"username": "a", "expires_at": "2099-01-01T00:00:00Z", "expires_in": 5},
        {"username": "a", "name": "a\u0000"},
        {"username": "a", "key": "chosen"},
    ):
        answer = await service.admin("POST", KEYS, key=root, json=body)
        assert answer.status_code == 422, body
    for path in ("enk_none", "%00"):
        assert (await service.admin("DELETE", f"{KEYS}/{path}", key=root)).status_code == 404
        assert (await service.admin("POST", f"{KEYS}/{path}/revoke", key=root)).status_code == 404
    assert (await service.login("x", token="authsvc_enrol_" + "A" * 43)).status_code == 401


async def test_a_key_that_is_over(service: LiveService) -> None:
    text = await key_for(service, username="sensor", max_uses=None, expires_in=600)
    machine = KeyPair.generate(Prefix.USER)
    assert (await service.login("sensor", machine, token=text)).status_code == 201
    async with service.running.database.writing() as session:
        await session.execute(update(EnrolmentKey).values(expires_at=int(time.time()) - 1))
    assert (await service.login("late", token=text)).status_code == 401
    # Whoever enrolled in time goes on.
    assert (await service.login("sensor", machine, token=text)).status_code == 201
    (item,) = (await service.admin("GET", KEYS)).json()["items"]
    assert (item["state"], item["uses"]) == ("expired", 1)


async def test_what_is_refused_uses_nothing_up(service: LiveService) -> None:
    text = await key_for(service, username="sensor")
    alice = KeyPair.generate(Prefix.USER)
    assert (await service.login("alice@example.com", alice)).status_code == 201
    assert (await service.login("sensor", alice, token=text)).status_code == 409
    assert (await service.login("sensor", token=text, app="x" * 70)).status_code == 422
    (item,) = (await service.admin("GET", KEYS)).json()["items"]
    assert (item["uses"], item["state"]) == (0, "active")
    assert (await service.login("sensor", token=text)).status_code == 201
    await service.admin("POST", "/v1/admin/users/sensor/disable")
    text = await key_for(service, username="sensor")
    assert (await service.login("sensor", token=text)).status_code == 403


async def test_a_one_off_key_enrols_one_machine_of_many(database_url: str, tmp_path: Path) -> None:
    """Forty machines present it at once, to two replicas."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(live_service(tmp_path / "data", database_url))
        master_key = (tmp_path / "data" / "master.key").read_text().strip()
        second = await stack.enter_async_context(
            live_service(tmp_path / "second", database_url, master_key=master_key)
        )
        text = await key_for(first, username="sensor")
        several = await key_for(first, pattern="crowd-*", max_uses=5)
        places = (first, second)
        answers = await asyncio.gather(
            *[places[number % 2].login(f"m{number}", token=text) for number in range(40)]
        )
        assert sorted({it.status_code for it in answers}) == [201, 401]
        assert [it.status_code for it in answers].count(201) == 1
        answers = await asyncio.gather(
            *[
                places[number % 2].login(f"c{number}", token=several, username=f"crowd-{number}")
                for number in range(30)
            ]
        )
        assert [it.status_code for it in answers].count(201) == 5
        async with first.running.database.reading() as session:
            assert len(list(await session.scalars(select(Enrolment)))) == 6
            assert len(list(await session.scalars(select(Credential)))) == 6
            uses = {key.max_uses: key.uses for key in await session.scalars(select(EnrolmentKey))}
        assert uses == {1: 1, 5: 5}
