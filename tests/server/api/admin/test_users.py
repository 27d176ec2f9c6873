"""Administrators' changes of users, over real HTTP, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from nats.errors import Error as NatsError
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.nkey import KeyPair
from authsvc.server.models import App, AuditEvent, Credential, DeadKey, Grant, User, new_id
from tests.fixtures.authsvc import LiveService
from tests.server.api.admin.live import connected, user_key

USERS = "/v1/admin/users"
ALICE = f"{USERS}/alice@example.com"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def create(service: LiveService, username: str, **body: Any) -> dict[str, Any]:
    answer = await service.admin("POST", USERS, json={"username": username, **body})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def events(service: LiveService, target: str) -> list[AuditEvent]:
    async with service.running.database.reading() as session:
        statement = select(AuditEvent).where(col(AuditEvent.target_id) == target)
        return list(await session.scalars(statement.order_by(col(AuditEvent.seq))))


async def grant(service: LiveService, *, role: str, **lists: Any) -> None:
    async with service.running.database.writing() as session:
        session.add(Grant(id=new_id("grt"), role=role, created_by="key_1", created_at=1, **lists))


async def test_create_and_read(service: LiveService) -> None:
    made = await service.admin(
        "POST",
        USERS,
        "users:write",
        json={"username": " Alice.S@Example.com ", "roles": ["b", "a", "b"], "max_payload": 2048},
    )
    assert made.status_code == 201, made.text
    assert made.headers["etag"] == '"1"'
    body = made.json()
    assert body["token"] == "alice%2Es@example%2Ecom"
    assert body["counts"] == {"credentials": 0, "active_credentials": 0, "grants": 0, "apps": 0}
    await service.login("alice.s@example.com")
    for reference in ("alice.s@example.com", "Alice.S@example.com", body["id"]):
        answer = await service.admin("GET", f"{USERS}/{reference}", "users:read")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert answer.headers["etag"] == '"1"'
        assert found["counts"] == {
            "credentials": 1,
            "active_credentials": 1,
            "grants": 0,
            "apps": 0,
        }
        assert found.pop("last_login_at") is not None
        assert {**found, "counts": 0} == {
            "id": body["id"],
            "username": "alice.s@example.com",
            "token": "alice%2Es@example%2Ecom",
            "kind": "email",
            "state": "active",
            "roles": ["b", "a"],
            "max_subscriptions": None,
            "max_payload": 2048,
            "version": 1,
            "created_at": body["created_at"],
            "disabled_at": None,
            "counts": 0,
        }
    (event,) = await events(service, body["id"])
    assert (event.action, event.actor_kind) == ("user.create", "api_key")
    assert event.details["roles"] == ["b", "a"]
    again = await service.admin("POST", USERS, json={"username": "ALICE.S@example.com"})
    assert again.status_code == 409
    assert again.json()["type"] == "urn:authsvc:problem:user-exists"


@pytest.mark.parametrize("shared_database_url", ["sqlite"], indirect=True)
async def test_names_that_are_refused(service: LiveService) -> None:
    refused = ["", "a b@x", "\u0041\u030a@x", "x" * 255 + "@x", "robot", "\u212a@x", "a\u0000@x"]
    for name in refused:
        answer = await service.admin("POST", USERS, json={"username": name})
        assert answer.status_code == 422, (name, answer.text)
        assert answer.json()["type"] == "urn:authsvc:problem:invalid-name" or len(name) > 512
    of_id = {"username": new_id("usr"), "kind": "service"}
    assert (await service.admin("POST", USERS, json=of_id)).status_code == 422
    robot = await create(service, "Robot/7", kind="service")
    assert (robot["username"], robot["kind"]) == ("robot/7", "service")
    answer = await service.admin("GET", f"{USERS}/{robot['id']}")
    assert answer.json()["token"] == "robot%2F7"
    for body in (
        {"username": "a@x", "admin": True},
        {"username": 7},
        {},
        {"username": "a@x", "max_payload": 1},
    ):
        assert (await service.admin("POST", USERS, json=body)).status_code == 422
    for path in (f"{USERS}/nobody@example.com", f"{USERS}/{new_id('usr')}", f"{USERS}/%00"):
        for method in ("GET", "DELETE"):
            assert (await service.admin(method, path)).status_code == 404


async def test_a_lower_limit_cuts_and_a_higher_one_does_not(service: LiveService) -> None:
    key = user_key()
    first = (await service.login("alice@example.com", key)).json()
    async with connected(service, first["jwt"], key) as connection:
        wider = await service.admin("PATCH", ALICE, "users:write", json={"max_subscriptions": 2000})
        assert wider.status_code == 200, wider.text
        assert wider.json()["max_subscriptions"] == 2000
        await connection.client.flush()
        narrower = await service.admin("PATCH", ALICE, json={"max_subscriptions": 5})
        assert narrower.json()["propagation"]["state"] == "applied"
        assert "revoked" in (await connection.cut_by()).lower()
    refused = await service.call("GET", "/v1/me", "DPoP", first["jwt"], key)
    assert refused.status_code == 401
    second = (await service.renew(first["jwt"], key)).json()
    assert second["id"] == first["id"]
    assert decode_user(second["jwt"]).subs == 5
    async with connected(service, second["jwt"], key) as connection:
        await connection.client.flush()
    default = await service.admin("PATCH", ALICE, json={"max_subscriptions": None})
    assert default.json()["max_subscriptions"] is None
    third = (await service.renew(second["jwt"], key)).json()
    assert decode_user(third["jwt"]).subs == 1000
    changes = [it.details for it in await events(service, default.json()["id"])][1:]
    assert [it["cut"] for it in changes] == [0, 1, 0]
    assert changes[1]["before"] == {"max_subscriptions": 2000}
    assert changes[1]["after"] == {"max_subscriptions": 5}


async def test_etags_keep_two_administrators_apart(service: LiveService) -> None:
    await create(service, "alice@example.com")
    mine = await service.admin(
        "PATCH", ALICE, headers={"If-Match": '"1"'}, json={"max_payload": 4096}
    )
    assert (mine.status_code, mine.headers["etag"]) == (200, '"2"')
    for method, path, body in (
        ("PATCH", ALICE, {"max_payload": 9999}),
        ("POST", f"{ALICE}/disable", None),
        ("DELETE", ALICE, None),
    ):
        for tag in ('"1"', 'W/"2"', "2", '"1", "3"', ""):
            late = await service.admin(method, path, headers={"If-Match": tag}, json=body)
            assert late.status_code == 412, (method, tag, late.text)
            assert late.json()["type"] == "urn:authsvc:problem:version-mismatch"
    same = await service.admin("PATCH", ALICE, json={"max_payload": 4096})
    assert same.headers["etag"] == '"2"'
    for tag in ('"7", "2"', "*"):
        answer = await service.admin("PATCH", ALICE, headers={"If-Match": tag}, json={})
        assert answer.status_code == 200
    found = (await service.admin("GET", ALICE)).json()
    assert (found["max_payload"], found["state"], found["version"]) == (4096, "active", 2)
    tags = [f'"{n}"' for n in range(2, 6)]
    racing = await asyncio.gather(
        *(
            service.admin(
                "PATCH", ALICE, headers={"If-Match": '"2"'}, json={"max_payload": 5000 + n}
            )
            for n in range(len(tags))
        )
    )
    assert sorted(it.status_code for it in racing) == [200, 412, 412, 412]


async def test_disable_cuts_and_enable_lets_the_same_keys_in(service: LiveService) -> None:
    alice, bob = user_key(), user_key()
    first = (await service.login("alice@example.com", alice)).json()
    other = (await service.login("bob@example.com", bob)).json()
    async with (
        connected(service, first["jwt"], alice) as cut,
        connected(service, other["jwt"], bob) as kept,
    ):
        answer = await service.admin("POST", f"{ALICE}/disable", "users:write")
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "disabled"
        assert answer.json()["propagation"]["state"] == "applied"
        await cut.cut_by()
        await kept.client.flush()
    for refused in (
        await service.login("alice@example.com", alice),
        await service.login("alice@example.com"),
        await service.renew(first["jwt"], alice),
        await service.call("GET", "/v1/me", "DPoP", first["jwt"], alice),
    ):
        assert refused.json()["type"] == "urn:authsvc:problem:user-disabled", refused.text
    twice = await service.admin("POST", f"{ALICE}/disable")
    assert twice.json()["version"] == 2
    enabled = await service.admin("POST", f"{ALICE}/enable", "users:write")
    assert (enabled.json()["state"], enabled.json()["version"]) == ("active", 3)
    with pytest.raises(NatsError):
        async with connected(service, first["jwt"], alice):
            pass
    renewed = (await service.renew(first["jwt"], alice)).json()
    assert renewed["id"] == first["id"]
    async with connected(service, renewed["jwt"], alice) as back:
        await back.client.flush()
    actions = [it.action for it in await events(service, enabled.json()["id"])]
    assert actions == ["user.create", "user.disable", "user.enable"]


async def test_delete_takes_everything_and_kills_the_keys(service: LiveService) -> None:
    key, older, fresh = user_key(), user_key(), user_key()
    first = (await service.login("alice@example.com", key)).json()
    expired = (await service.login("alice@example.com", older)).json()
    found = (await service.admin("GET", ALICE)).json()
    async with service.running.database.writing() as session:
        row = await session.get_one(Credential, expired["id"])
        row.expires_at = row.alive_until = row.issued_at = 1000
        owned: dict[str, Any] = {"user_id": found["id"], "created_at": 1}
        session.add(App(id="app_1", name="chat", token="chat", **owned))
        session.add(Grant(id="grt_1", publish=["x"], created_by="key", **owned))
    async with connected(service, first["jwt"], key) as connection:
        answer = await service.admin("DELETE", ALICE, "users:write")
        assert answer.status_code == 200, answer.text
        assert answer.json()["propagation"]["state"] == "applied"
        assert answer.json()["id"] == found["id"]
        await connection.cut_by()
    async with service.running.database.reading() as session:
        for model in (User, Credential, App, Grant):
            assert list(await session.scalars(select(model))) == []
        dead = set(await session.scalars(select(col(DeadKey.public_key))))
    assert dead == {key.public.text, older.public.text}
    assert [it.action for it in await events(service, found["id"])] == [
        "user.create",
        "user.delete",
    ]
    assert [it.action for it in await events(service, first["id"])][-1] == "credential.revoke"
    for pair, name in ((key, "alice"), (older, "alice"), (key, "bob"), (older, "bob")):
        again = await service.login(f"{name}@example.com", pair)
        assert again.json()["type"] == "urn:authsvc:problem:key-revoked", again.text
    assert (await service.renew(first["jwt"], key)).status_code == 409
    assert (await service.call("GET", "/v1/me", "DPoP", first["jwt"], key)).status_code == 401
    with pytest.raises(NatsError):
        async with connected(service, first["jwt"], key):
            pass
    for name in ("alice", "bob"):  # who came with a dead key was not created
        missing = await service.admin("DELETE", f"{USERS}/{name}@example.com")
        assert missing.status_code == 404
    back = await service.login("alice@example.com", fresh)
    assert back.status_code == 201
    assert (await service.admin("GET", ALICE)).json()["id"] != found["id"]


async def test_changes_and_logins_side_by_side(service: LiveService) -> None:
    """Nobody waits crosswise, no answer is a mistake, and what was deleted stays dead."""
    admin = await service.api_key("admin")
    keys = [user_key() for _ in range(8)]

    async def people(key: KeyPair) -> list[httpx.Response]:
        found = []
        for _ in range(6):
            login = await service.login("alice@example.com", key)
            found.append(login)
            if login.status_code == 201:
                found.append(await service.renew(login.json()["jwt"], key))
        return found

    async def administrator(steps: list[tuple[str, str, Any]]) -> list[httpx.Response]:
        return [
            await service.admin(method, path, key=admin, json=body) for method, path, body in steps
        ]

    limits: list[tuple[str, str, Any]] = [
        ("PATCH", ALICE, {"max_subscriptions": 9 - n}) for n in range(4)
    ]
    switches: list[tuple[str, str, Any]] = [
        ("POST", f"{ALICE}/disable", None),
        ("POST", f"{ALICE}/enable", None),
    ]
    ends: list[tuple[str, str, Any]] = [
        ("POST", f"{ALICE}/credentials:revoke", None),
        ("DELETE", ALICE, None),
    ]
    answers = await asyncio.gather(
        *(people(key) for key in keys),
        *map(administrator, (limits, switches * 2, ends * 2)),
    )
    statuses = {it.status_code for found in answers for it in found}
    assert statuses <= {200, 201, 401, 403, 404, 409}, [
        it.text for found in answers for it in found if it.status_code >= 500
    ]
    await service.admin("DELETE", ALICE)
    used = [
        key
        for key, found in zip(keys, answers, strict=False)
        if any(it.status_code == 201 for it in found)
    ]
    assert used
    for key in used:
        answer = await service.login("bob@example.com", key)
        assert answer.json()["type"] == "urn:authsvc:problem:key-revoked", answer.text


async def test_a_repeated_post_is_done_once(service: LiveService) -> None:
    admin = await service.api_key("users:write")

    async def post(path: str, key: str, **kw: Any) -> httpx.Response:
        return await service.admin("POST", path, key=admin, headers={"Idempotency-Key": key}, **kw)

    body = {"username": "alice@example.com", "roles": ["a"]}
    first, second = [await post(USERS, "k", json=body) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert first.headers["etag"] == second.headers["etag"] == '"1"'
    assert second.headers["idempotency-replayed"] == "true"
    assert (await post(USERS, "other", json=body)).status_code == 409
    off = await post(f"{ALICE}/disable", "k")
    await service.admin("POST", f"{ALICE}/enable")
    again = await post(f"{ALICE}/disable", "k")
    assert (off.json()["version"], again.json()["version"]) == (2, 2)
    assert again.json()["propagation"]["state"] == "applied"
    assert (await service.admin("GET", ALICE)).json()["state"] == "active"


async def test_roles_bring_grants_and_take_them_along(service: LiveService) -> None:
    await grant(service, role="reader", publish=["news.>"], subscribe=["news.>"])
    await grant(service, role="also", publish=["news.>"], subscribe=["news.>"])
    await grant(service, role="huge", publish=[f"topic.number.{n:04}.>" for n in range(200)])
    key = user_key()
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    added = await service.admin("PATCH", ALICE, json={"roles": ["reader"]})
    assert added.json()["roles"] == ["reader"]
    jwt = (await service.renew(jwt, key)).json()["jwt"]
    assert "news.>" in decode_user(jwt).permissions.publish.allow
    await service.admin("PATCH", ALICE, json={"roles": ["also", "none"]})
    assert (await service.call("GET", "/v1/me", "DPoP", jwt, key)).status_code == 200
    await service.admin("PATCH", ALICE, json={"roles": []})
    assert (await service.call("GET", "/v1/me", "DPoP", jwt, key)).status_code == 401
    jwt = (await service.renew(jwt, key)).json()["jwt"]
    assert "news.>" not in decode_user(jwt).permissions.publish.allow
    for answer in (
        await service.admin("PATCH", ALICE, json={"roles": ["huge"]}),
        await service.admin("POST", USERS, json={"username": "b@x.com", "roles": ["huge"]}),
    ):
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:authsvc:problem:credential-too-large"
    assert (await service.renew(jwt, key)).status_code == 201
    assert (await service.admin("GET", f"{USERS}/b@x.com")).status_code == 404


async def test_list_pages_search_and_filters(service: LiveService) -> None:
    names = [f"{word}{n}@example.com" for word in ("alice", "bob", "zo\u00eb") for n in range(4)]
    for name in names:
        await create(service, name, roles=["boss"] if name.startswith("bob") else [])
    await create(service, "50%_a*", kind="service")
    await service.admin("POST", f"{USERS}/alice2@example.com/disable")

    async def walk(query: str) -> list[str]:
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            path = f"{USERS}?limit=3&{query}" + (f"&cursor={cursor}" if cursor else "")
            answer = await service.admin("GET", path, "users:read")
            assert answer.status_code == 200, answer.text
            seen += [it["username"] for it in answer.json()["items"]]
            cursor = answer.json()["next_cursor"]
        return seen

    assert await walk("") == sorted([*names, "50%_a*"], key=str.encode)
    assert await walk("search=ALICE") == names[:4]
    assert await walk("search=zo%C3%AB1") == ["zo\u00eb1@example.com"]
    assert await walk("search=2@ex") == [name for name in names if "2@" in name]
    for nothing in ("%25@", "_@", "li_e", "nobody"):
        assert await walk(f"search={nothing}") == []
    assert await walk("search=%25_a") == ["50%_a*"]
    assert await walk("role=boss") == names[4:8]
    assert await walk("role=boss&search=bob1") == names[5:6]
    assert await walk("role=bos") == []
    assert await walk("state=disabled") == [names[2]]
    assert len(await walk("state=active")) == 12
    for query in ("limit=0", "limit=1001", "cursor=!", "cursor=AA", "state=x", "search=%00"):
        assert (await service.admin("GET", f"{USERS}?{query}")).status_code == 422, query
