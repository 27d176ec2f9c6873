"""Grants over HTTP: who gets what, what is refused, what taking away does."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.errors import NotFound
from authsvc.nkey import KeyPair, Prefix
from authsvc.server import audit
from authsvc.server.database import Database
from authsvc.server.grants import NewGrant, create_grant
from authsvc.server.models import AuditEvent, Grant, User, new_id
from authsvc.server.sessions.sizes import Caps
from tests.fixtures.authsvc import LiveService

GRANTS = "/v1/admin/grants"
ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


async def grant(service: LiveService, *scopes: str, **body: Any) -> httpx.Response:
    return await service.admin("POST", GRANTS, *(scopes or ("users:write",)), json=body)


async def set_roles(service: LiveService, name: str, *roles: str) -> None:
    async with service.running.database.writing() as session:
        await session.execute(
            update(User).where(col(User.username) == name).values(roles=list(roles))
        )


async def publishes(service: LiveService, name: str) -> tuple[str, ...]:
    """What a further login of the user may publish beyond everybody's seven entries."""
    jwt = (await service.login(name)).json()["jwt"]
    return decode_user(jwt).permissions.publish.allow[7:]


async def events(service: LiveService, target: str) -> list[AuditEvent]:
    async with service.running.database.reading() as session:
        return list(
            await session.scalars(
                select(AuditEvent)
                .where(col(AuditEvent.target_id) == target)
                .order_by(col(AuditEvent.seq))
            )
        )


async def test_a_users_grant_from_creation_to_its_end(service: LiveService) -> None:
    first = (await service.login(ALICE)).json()
    await service.login(BOB)
    answer = await grant(
        service, username=f" {ALICE.upper()} ", publish=["w.>", "w.>"], subscribe=["n.*"], note="x"
    )
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["username"] == ALICE
    assert made["user_id"].startswith("usr_")
    assert (made["publish"], made["subscribe"]) == (["w.>"], ["n.*"])
    assert (made["role"], made["dangerous"], made["note"]) == (None, False, "x")
    # Nobody was cut: the JWT from before still counts, and lacks the grant until it is renewed.
    key = service.keys[ALICE]
    assert (await service.call("GET", "/v1/me", "DPoP", first["jwt"], key)).status_code == 200
    renewed = (await service.renew(first["jwt"], key)).json()["jwt"]
    assert decode_user(renewed).permissions.publish.allow[7:] == ("w.>",)
    assert decode_user(renewed).permissions.subscribe.allow[3:] == ("n.*",)
    assert await publishes(service, BOB) == ()
    one = await service.admin("GET", f"{GRANTS}/{made['id']}", "users:read")
    assert one.json() == made
    gone = await service.admin("DELETE", f"{GRANTS}/{made['id']}", "users:write")
    assert gone.status_code == 200, gone.text
    body = gone.json()
    assert body["propagation"]["state"] == "applied"
    assert body["cut"] == 1
    assert {name: body[name] for name in made} == made
    assert (await service.call("GET", "/v1/me", "DPoP", renewed, key)).status_code == 401
    assert await publishes(service, ALICE) == ()
    assert (await service.admin("GET", f"{GRANTS}/{made['id']}", "users:read")).status_code == 404
    again = await service.admin("DELETE", f"{GRANTS}/{made['id']}", "users:write")
    assert again.status_code == 404
    noted = await events(service, made["id"])
    assert [event.action for event in noted] == ["grant.create", "grant.delete"]
    assert noted[0].actor_kind == "api_key"
    assert noted[0].actor_id == made["created_by"]
    assert noted[0].details["publish"] == ["w.>"]
    assert noted[1].details["cut"] == 1


async def test_a_roles_grant_is_its_members_alone(service: LiveService) -> None:
    jwts = {name: (await service.login(name)).json()["jwt"] for name in (ALICE, BOB)}
    keys = dict(service.keys)
    await set_roles(service, ALICE, "staff", 'odd "role" %')
    made = (await grant(service, role="staff", publish=["w.>"])).json()
    odd = (await grant(service, role='odd "role" %', publish=["o"])).json()
    await grant(service, role="staf", publish=["other"])
    assert (made["role"], made["username"], made["user_id"]) == ("staff", None, None)
    assert set(await publishes(service, ALICE)) == {"w.>", "o"}
    assert await publishes(service, BOB) == ()
    gone = await service.admin("DELETE", f"{GRANTS}/{made['id']}", "users:write")
    assert gone.json()["cut"] == 2  # of alice, who has logged in with two nkeys
    assert await publishes(service, ALICE) == ("o",)
    bob = await service.call("GET", "/v1/me", "DPoP", jwts[BOB], keys[BOB])
    assert bob.status_code == 200
    assert (await service.admin("DELETE", f"{GRANTS}/{odd['id']}", "admin")).json()["cut"] == 3


async def test_lists_in_pages_and_by_whom(service: LiveService) -> None:
    await service.login(ALICE)
    await service.login(BOB)
    made = [
        (await grant(service, username=ALICE, publish=[f"a.{number}"])).json()["id"]
        for number in range(3)
    ]
    made.append((await grant(service, username=BOB, publish=["b"])).json()["id"])
    made.append((await grant(service, role="staff", publish=["r"])).json()["id"])

    async def ids(query: str) -> list[str]:
        found: list[str] = []
        cursor = ""
        while True:
            page = await service.admin("GET", f"{GRANTS}?{query}{cursor}", "users:read")
            assert page.status_code == 200, page.text
            found += [item["id"] for item in page.json()["items"]]
            if page.json()["next_cursor"] is None:
                return found
            cursor = f"&cursor={page.json()['next_cursor']}"

    newest_first = made[::-1]
    assert await ids("") == newest_first
    assert await ids("limit=1") == await ids("limit=5") == await ids("limit=2") == newest_first
    assert await ids(f"user={ALICE}&limit=2") == newest_first[2:]
    assert await ids("role=staff") == newest_first[:1]
    assert await ids("role=other") == []
    for query, status in {
        "user=nobody": 404,
        "user=%00": 404,
        "cursor=x": 422,
        "limit=0": 422,
        "limit=1001": 422,
        "role=%00": 422,
    }.items():
        answer = await service.admin("GET", f"{GRANTS}?{query}", "users:read")
        assert answer.status_code == status, query


async def test_what_can_not_be_granted(service: LiveService) -> None:
    await service.login(ALICE)
    for body, status, slug in (
        ({"publish": ["w"]}, 422, "invalid-input"),
        ({"username": ALICE, "role": "r", "publish": ["w"]}, 422, "invalid-input"),
        ({"username": ALICE}, 422, "invalid-input"),
        ({"username": "nobody", "publish": ["w"]}, 404, "not-found"),
        ({"username": ALICE, "publish": ["a..b"]}, 422, "invalid-subject"),
        ({"username": ALICE, "publish": ["a b"]}, 422, "invalid-subject"),
        ({"username": ALICE, "subscribe": ["a.>.b"]}, 422, "invalid-subject"),
        ({"username": ALICE, "publish": "w"}, 422, "invalid-input"),
        ({"username": ALICE, "publish": ["w"], "deny": ["x"]}, 422, "invalid-input"),
        ({"role": "", "publish": ["w"]}, 422, "invalid-input"),
        ({"role": "a\u0000", "publish": ["w"]}, 422, "invalid-input"),
        ({"username": ALICE, "publish": ["w"], "note": "\u0000"}, 422, "invalid-input"),
    ):
        answer = await grant(service, "admin", **body)
        assert answer.status_code == status, (body, answer.text)
        assert answer.json()["type"] == f"urn:authsvc:problem:{slug}", body
    for path in ("grt_none", "%00"):
        answer = await service.admin("GET", f"{GRANTS}/{path}", "users:read")
        assert answer.status_code == 404
        answer = await service.admin("DELETE", f"{GRANTS}/{path}", "users:write")
        assert answer.status_code == 404
    for method, path, scope in (
        ("GET", GRANTS, "users:write"),
        ("GET", f"{GRANTS}/{new_id('grt')}", "users:write"),
        ("POST", GRANTS, "users:read"),
        ("DELETE", f"{GRANTS}/{new_id('grt')}", "users:read"),
    ):
        answer = await service.admin(method, path, scope, json={} if method == "POST" else None)
        assert answer.status_code == 403, (method, path)
        assert (await service.http.request(method, path)).status_code == 401
    async with service.running.database.reading() as session:
        assert list(await session.scalars(select(Grant))) == []


async def test_what_is_dangerous_says_so_and_is_audited(service: LiveService) -> None:
    await service.login(ALICE)
    reaching = {"username": ALICE, "publish": ["free", "requests.*.bob.x"], "subscribe": ["*"]}
    refused = await grant(service, "admin", **reaching)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:authsvc:problem:dangerous-grant"
    assert "publish requests.*.bob.x reaches the requests of others" in refused.json()["detail"]
    assert '"dangerous": true' in refused.json()["detail"]
    assert "free" not in refused.json()["detail"]
    lacking = await grant(service, "users:write", dangerous=True, **reaching)
    assert lacking.status_code == 403
    assert lacking.json()["type"] == "urn:authsvc:problem:scope-missing"
    made = await grant(service, "admin", dangerous=True, **reaching)
    assert made.status_code == 201, made.text
    assert made.json()["dangerous"] is True
    (event,) = await events(service, made.json()["id"])
    assert event.details["dangerous"] is True
    found = {(it["action"], it["entry"]) for it in event.details["reaches"]}
    assert found == {("publish", "requests.*.bob.x"), ("subscribe", "*")}
    # Said without need, it is no more than any other grant.
    harmless = await grant(service, "admin", username=ALICE, publish=["w"], dangerous=True)
    assert harmless.json()["dangerous"] is False


LONG = [f"some.rather.long.subject.for.{number}.>" for number in range(12)]


async def test_jwts_that_would_be_too_large(service: LiveService) -> None:
    """Every affected user is looked at, with all the grants that this user has."""
    names = [f"user{number}@example.com" for number in range(8)]
    for name in names:
        await service.login(name)
        await set_roles(service, name, "staff")
    first = await grant(service, role="staff", publish=LONG)
    assert first.status_code == 201, first.text
    full = await grant(service, username=names[3], subscribe=LONG)
    assert full.status_code == 201, full.text
    # One of the eight has no room for this any more.
    small = [f"another.long.subject.{number}" for number in range(40)]
    refused = await grant(service, role="staff", publish=small)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:authsvc:problem:credential-too-large"
    assert f"the JWTs of 1 user would have more than 3500 bytes: {names[3]};" in refused.text
    huge = await grant(service, role="staff", publish=small + LONG[:1], subscribe=LONG + small)
    assert huge.json()["type"] == "urn:authsvc:problem:credential-too-large"
    assert "the JWTs of 8 users" in huge.json()["detail"]
    assert all(name in huge.json()["detail"] for name in names[:3])
    assert "user7" not in huge.json()["detail"]
    # What was let through can be issued, what was refused was not kept.
    async with service.running.database.reading() as session:
        assert len(list(await session.scalars(select(Grant)))) == 2
    for name in names:
        assert (await service.login(name)).status_code == 201


async def test_the_size_is_what_is_issued(service: LiveService) -> None:
    """Entry by entry up to the limit: the last grant that is taken still makes a JWT."""
    name = "%" * 45 + "@example.com"  # three bytes each in a subject
    assert (await service.login(name)).status_code == 201
    for number in range(40):
        answer = await grant(service, username=name, publish=[f"fill.{number:03}.up"])
        if answer.status_code == 422:
            break
    assert answer.json()["type"] == "urn:authsvc:problem:credential-too-large"
    jwt = (await service.login(name)).json()["jwt"]
    assert 3500 - 25 <= len(jwt) <= 3500


async def test_no_renewal_slips_past_a_grant_that_goes(service: LiveService) -> None:
    """Renewals side by side with the deletion: every JWT with the grant is one that is dead."""
    keys = [KeyPair.generate(Prefix.USER) for _ in range(8)]
    jwts = [(await service.login(ALICE, key)).json()["jwt"] for key in keys]
    made = (await grant(service, username=ALICE, publish=["secret.>"])).json()
    issued: list[str] = []
    stop = asyncio.Event()

    async def renewing(jwt: str, key: KeyPair) -> None:
        while not stop.is_set():
            issued.append((await service.renew(jwt, key)).json()["jwt"])

    tasks = [asyncio.create_task(renewing(jwt, key)) for jwt, key in zip(jwts, keys, strict=True)]
    await asyncio.sleep(0.2)
    gone = await service.admin("DELETE", f"{GRANTS}/{made['id']}", "users:write")
    stop.set()
    await asyncio.gather(*tasks)
    assert gone.json()["cut"] == 8
    async with service.running.database.reading() as session:
        superseded_at = await session.scalar(
            select(col(User.superseded_at)).where(col(User.username) == ALICE)
        )
    assert superseded_at is not None
    claims = [decode_user(jwt) for jwt in issued]
    has = ["secret.>" in each.permissions.publish.allow for each in claims]
    assert {
        each.issued_at > superseded_at for each, old in zip(claims, has, strict=True) if old
    } == {False}
    assert all(
        each.issued_at > superseded_at for each, old in zip(claims, has, strict=True) if not old
    )
    assert not all(has)


async def gone(database: Database) -> None:
    user = User(id="usr_gone", username="g", token="g", kind="service", created_at=1)
    new = NewGrant(user=user, role=None, publish=["w"], subscribe=[])
    context = audit.Context(audit.Actor("api_key", "key_x"), "r", "")
    async with database.writing() as session:
        await create_grant(session, new, caps=Caps(1, 1), context=context, now=1)


async def test_a_user_who_goes_meanwhile(database: Database) -> None:
    with pytest.raises(NotFound, match="any more"):
        await gone(database)
