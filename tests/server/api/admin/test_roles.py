"""``/v1/admin/roles``: what is listed, what is refused, what the audit says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.server import audit, roles
from authsvc.server.models import AuditEvent
from authsvc.server.sessions.sizes import Caps
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.roles import GRANTS, ROLES, grant, login, scope, unscope_all, user

ALICE, BOB = "alice@example.com", "bob@example.com"
_TEST = audit.Context(audit.Actor("service", "test"), "", "")
_sqlite = pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def service(emptied_service: LiveService) -> LiveService:
    """The module's, without the roles of the tests before."""
    await unscope_all(emptied_service)
    return emptied_service


async def put(service: LiveService, name: str, body: Any = None) -> httpx.Response:
    return await service.admin(
        "PUT", f"{ROLES}/{name}", "users:write", json=body or {"scoped": True}
    )


async def delete(service: LiveService, name: str) -> httpx.Response:
    return await service.admin("DELETE", f"{ROLES}/{name}", "users:write")


async def listed(service: LiveService, query: str = "") -> dict[str, Any]:
    answer = await service.admin("GET", f"{ROLES}{query}", "users:read")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def test_lists_every_role_by_name(service: LiveService) -> None:
    assert await listed(service) == {"items": [], "next_cursor": None}
    await user(service, ALICE, "b", "ä", "it's")
    await user(service, BOB, "b")
    await grant(service, role="c", publish=["w.>"])
    made = await scope(service, "b")
    await scope(service, "a role without anybody")
    page = await listed(service)
    counts = [(it["name"], it["members"], it["grants"], it["scoped"]) for it in page["items"]]
    assert counts == [
        ("a role without anybody", 0, 0, True),
        ("b", 2, 0, True),
        ("c", 0, 1, False),
        ("it's", 1, 0, False),
        ("ä", 1, 0, False),
    ]
    assert page["items"][1] == {key: made[key] for key in page["items"][1]}
    assert (page["items"][2]["state"], page["items"][2]["public_key"]) == (None, None)
    first = await listed(service, "?limit=3")
    rest = await listed(service, f"?limit=3&cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == page["items"]
    assert rest["next_cursor"] is None
    answer = await service.admin("GET", f"{ROLES}?cursor=%25", "users:read")
    assert answer.status_code == 422


async def test_scoping_twice_is_scoping_once(service: LiveService) -> None:
    made = await asyncio.gather(*(put(service, "sensors") for _ in range(3)))
    assert {answer.status_code for answer in made} == {200}
    assert len({answer.json()["public_key"] for answer in made}) == 1
    keys = (await service.admin("GET", "/v1/admin/keys", "keys:rotate")).json()["items"]
    (key,) = [it for it in keys if it["purpose"] == "role"]
    assert key["public_key"] == made[0].json()["public_key"]
    assert (key["state"], key["signs"], key["held"], key["credentials"]) == (
        "active",
        True,
        True,
        0,
    )
    assert "sensors" in key["name"]
    assert (await delete(service, "sensors")).status_code == 200
    gone = await delete(service, "sensors")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:authsvc:problem:not-found")
    async with service.running.database.reading() as session:
        found = await session.scalars(
            select(AuditEvent).where(col(AuditEvent.target_id) == "sensors")
        )
        actions = [(event.target_kind, event.action) for event in found]
    assert sorted(actions) == [
        ("role", "role.activate"),
        ("role", "role.scope"),
        ("role", "role.unscope"),
    ]


@_sqlite
async def test_what_is_refused(service: LiveService) -> None:
    for body in ({"scoped": False}, {"scoped": "true"}, {"scoped": True, "more": 1}):
        assert (await put(service, "sensors", body)).status_code == 422, body
    await grant(service, role="templates", publish=["x.{{tag(y)}}"])
    answer = await put(service, "templates")
    assert answer.status_code == 422
    assert "{{" in answer.json()["detail"]
    large = [f"some.rather.long.subject.number.{number}.>" for number in range(100)]
    await grant(service, role="large", publish=large)
    assert (await put(service, "large")).json()[
        "type"
    ] == "urn:authsvc:problem:credential-too-large"
    # Nothing of it stayed behind.
    assert not [it for it in (await listed(service))["items"] if it["scoped"]]
    await scope(service, "sensors")
    for entry in ("x.{{name()}}", "{{name()}}.>", "a.{{ tag(x) }}.b"):
        answer = await service.admin(
            "POST", GRANTS, "admin", json={"role": "sensors", "publish": [entry], "dangerous": True}
        )
        assert answer.status_code == 422, entry
    answer = await service.admin(
        "POST", GRANTS, "users:write", json={"role": "sensors", "publish": large}
    )
    assert answer.json()["type"] == "urn:authsvc:problem:credential-too-large"
    for number in range(roles.MOST_SCOPED - 1):
        await scope(service, f"role {number}")
    answer = await put(service, "one too many")
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:authsvc:problem:conflict")


async def test_a_key_signs_only_when_every_server_knows_it(service: LiveService) -> None:
    """Until then members get JWTs as before; then it becomes active by itself."""
    await user(service, ALICE, "sensors")
    jwt, _ = await login(service, ALICE)
    running = service.running
    async with running.database.writing() as session:
        role = await roles.make_scoped(
            session,
            running.keystore,
            "sensors",
            account_id=running.material.people_id,
            caps=Caps(10, 1000),
            context=_TEST,
            now=time.time(),
        )
        # The account JWT does not list it yet.
        assert not await roles.activate(session, "sensors", context=_TEST, now=time.time())
        assert role.public_key not in (await running.signing.read(session)).trusted

    async def is_active() -> bool:
        return bool((await listed(service))["items"][0]["state"] == "active")

    await until(is_active)
    renewed = await service.renew(jwt, service.keys[ALICE])
    assert renewed.status_code == 201
    _, claims = await login(service, ALICE, key=service.keys[ALICE])
    assert claims.issuer == role.public_key
