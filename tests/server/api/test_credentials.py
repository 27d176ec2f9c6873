"""The user's routes, over real HTTP, on both databases."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import select
from sqlmodel import col

from authsvc.claims import decode_user
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.models import AuditEvent, Credential, User
from authsvc.server.policy import permissions
from authsvc.subjects import token
from tests.fixtures.authsvc import LiveService, StartService

# Times are counted by the service, whatever the database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


def user_key() -> KeyPair:
    return KeyPair.generate(Prefix.USER)


async def test_login_answers_the_whole_credential(service: LiveService) -> None:
    key = user_key()
    before = int(time.time())
    answer = await service.login("  Alice.Smith+x@Example.com ".strip(), key, name="laptop")
    assert answer.status_code == 201, answer.text
    body = answer.json()
    u = "alice%2Esmith+x@example%2Ecom"
    assert body["username"] == "alice.smith+x@example.com"
    assert body["subject_token"] == u
    assert body["public_key"] == key.public.text
    assert body["account"] == service.running.material.people
    assert body["servers"] == [service.nats_url]
    assert body["inbox_prefix"] == f"_INBOX.{u}"
    assert body["name"] == "laptop"
    assert body["app"] is None
    assert 3598 <= body["expires_in"] <= 3600
    assert 2398 <= body["renew_in"] <= 2400
    claims = decode_user(body["jwt"])
    assert claims.subject == key.public.text
    assert claims.name == u
    assert claims.issuer_account == body["account"]
    assert claims.issuer != body["account"]
    assert tuple(claims.tags) == (f"credential:{body['id']}",)
    assert claims.permissions == permissions(u)
    assert (claims.subs, claims.payload) == (1000, 8388608)
    assert before <= claims.issued_at <= time.time() + 1
    assert claims.expires == claims.issued_at + 3600


async def test_login_again_keeps_the_id(service: LiveService) -> None:
    key = user_key()
    first = (await service.login("alice@example.com", key, name="one")).json()
    second = (await service.login("alice@example.com", key)).json()
    third = (await service.login("alice@example.com", key, name="two")).json()
    assert first["id"] == second["id"] == third["id"]
    assert [it["name"] for it in (first, second, third)] == ["one", "one", "two"]


async def test_row_and_event_are_there_when_the_answer_is(service: LiveService) -> None:
    body = (await service.login("alice@example.com")).json()
    async with service.running.database.reading() as session:
        row = await session.get_one(Credential, body["id"])
        events = list(
            await session.scalars(select(AuditEvent).where(col(AuditEvent.target_id) == body["id"]))
        )
        user = await session.get_one(User, row.user_id)
    assert row.jti == decode_user(body["jwt"]).id
    assert user.last_login_at is not None
    assert [event.action for event in events] == ["credential.issue"]
    assert events[0].actor_id == user.id
    assert events[0].address == "127.0.0.1"
    assert events[0].details["jti"] == row.jti


async def test_renew_brings_a_new_jwt(service: LiveService) -> None:
    key = user_key()
    first = (await service.login("alice@example.com", key)).json()
    answer = await service.renew(first["jwt"], key)
    assert answer.status_code == 201, answer.text
    second = answer.json()
    assert second["id"] == first["id"]
    assert decode_user(second["jwt"]).id != decode_user(first["jwt"]).id or (
        second["issued_at"] == first["issued_at"]
    )
    async with service.running.database.reading() as session:
        actions = list(
            await session.scalars(
                select(col(AuditEvent.action)).where(col(AuditEvent.target_id) == first["id"])
            )
        )
    assert actions == ["credential.issue", "credential.renew"]


async def test_ttl_is_kept_and_capped(start_service: StartService) -> None:
    service = await start_service(credential_ttl=100)
    key = user_key()
    short = (await service.login("alice@example.com", key, ttl=20)).json()
    assert 18 <= short["expires_in"] <= 20
    renewed = (await service.renew(short["jwt"], key)).json()
    assert 18 <= renewed["expires_in"] <= 20
    long = (await service.login("alice@example.com", user_key(), ttl=100000)).json()
    assert 98 <= long["expires_in"] <= 100


@on_sqlite
async def test_renewal_within_the_grace_only(start_service: StartService) -> None:
    service = await start_service(renew_grace=2)
    key = user_key()
    first = (await service.login("alice@example.com", key, ttl=1)).json()
    await asyncio.sleep(1.2)
    second = await service.renew(first["jwt"], key)
    assert second.status_code == 201, second.text
    await asyncio.sleep(4.5)
    third = await service.renew(second.json()["jwt"], key)
    assert third.status_code == 401


@on_sqlite
async def test_renewal_ends_with_the_longest_session(start_service: StartService) -> None:
    service = await start_service(max_session=1)
    key = user_key()
    first = (await service.login("alice@example.com", key)).json()
    assert (await service.renew(first["jwt"], key)).status_code == 201
    await asyncio.sleep(2.1)
    assert (await service.renew(first["jwt"], key)).status_code == 401
    assert (await service.login("alice@example.com", key)).status_code == 201
    assert (await service.renew(first["jwt"], key)).status_code == 201


async def test_renewal_needs_the_same_key(service: LiveService) -> None:
    first = (await service.login("alice@example.com")).json()
    assert (await service.renew(first["jwt"], user_key())).status_code == 401


async def test_nkey_of_another_user_is_refused(service: LiveService) -> None:
    key = user_key()
    assert (await service.login("alice@example.com", key)).status_code == 201
    answer = await service.login("bob@example.com", key)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:authsvc:problem:key-taken"
    assert answer.headers["content-type"] == "application/problem+json"


async def test_revoked_nkey_is_dead(service: LiveService) -> None:
    key, other = user_key(), user_key()
    first = (await service.login("alice@example.com", key)).json()
    second = (await service.login("alice@example.com", other)).json()
    answer = await service.call(
        "DELETE", f"/v1/credentials/{first['id']}", "DPoP", second["jwt"], other
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["state"] == "revoked"
    assert body["propagation"]["state"] == "applied"
    assert [held["applied"] for held in body["propagation"]["servers"]] == [True]
    again = await service.login("alice@example.com", key)
    assert again.status_code == 409
    assert again.json()["type"] == "urn:authsvc:problem:key-revoked"
    assert (await service.renew(first["jwt"], key)).status_code == 409
    me = await service.call("GET", "/v1/me", "DPoP", first["jwt"], key)
    assert me.status_code == 401


async def test_only_own_credentials_can_be_revoked(service: LiveService) -> None:
    alice, bob = user_key(), user_key()
    hers = (await service.login("alice@example.com", alice)).json()
    his = (await service.login("bob@example.com", bob)).json()
    answer = await service.call("DELETE", f"/v1/credentials/{hers['id']}", "DPoP", his["jwt"], bob)
    assert answer.status_code == 404
    assert (await service.renew(hers["jwt"], alice)).status_code == 201


async def test_list_pages_and_states(service: LiveService) -> None:
    keys = [user_key() for _ in range(5)]
    made = [(await service.login("alice@example.com", key)).json() for key in keys]
    await service.login("bob@example.com")
    await service.call(
        "DELETE", f"/v1/credentials/{made[0]['id']}", "DPoP", made[4]["jwt"], keys[4]
    )
    seen, cursor = [], None
    while True:
        path = "/v1/credentials?limit=2" + (f"&cursor={cursor}" if cursor else "")
        page = (await service.call("GET", path, "DPoP", made[4]["jwt"], keys[4])).json()
        seen += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert [it["id"] for it in seen] == [it["id"] for it in reversed(made)]
    assert [it["state"] for it in seen] == ["active"] * 4 + ["revoked"]
    assert all(it["last_used_at"] for it in seen)
    assert "jwt" not in seen[0]


async def test_me(service: LiveService) -> None:
    key = user_key()
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    body = (await service.call("GET", "/v1/me", "DPoP", jwt, key)).json()
    expected = permissions(token("alice@example.com"))
    assert body == {
        "username": "alice@example.com",
        "token": "alice@example%2Ecom",
        "permissions": {
            "publish": list(expected.publish.allow),
            "subscribe": list(expected.subscribe.allow),
        },
        "apps": [],
    }


async def test_narrowed_credential_stays_narrowed(service: LiveService) -> None:
    key = user_key()
    first = (await service.login("alice@example.com", key, app="Chat")).json()
    assert first["app"] == "chat"
    expected = permissions("alice@example%2Ecom", app="chat")
    assert decode_user(first["jwt"]).permissions == expected
    renewed = (await service.renew(first["jwt"], key)).json()
    assert decode_user(renewed["jwt"]).permissions == expected
    assert (await service.login("alice@example.com", key)).status_code == 409
    assert (await service.login("alice@example.com", key, app="other")).status_code == 409
    assert (await service.login("alice@example.com", key, app="chat")).status_code == 201


async def test_disabled_user_is_refused_everywhere(service: LiveService) -> None:
    key = user_key()
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    async with service.running.database.writing() as session:
        user = (await session.scalars(select(User))).one()
        user.disabled_at = int(time.time())
    for answer in (
        await service.login("alice@example.com", user_key()),
        await service.renew(jwt, key),
        await service.call("GET", "/v1/me", "DPoP", jwt, key),
    ):
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:authsvc:problem:user-disabled"


async def test_unknown_users_where_logins_create_none(start_service: StartService) -> None:
    service = await start_service(auto_create_users=False)
    answer = await service.login("alice@example.com")
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:authsvc:problem:user-unknown"
    async with service.running.database.reading() as session:
        assert list(await session.scalars(select(User))) == []


async def test_superseded_jwt_is_refused_but_renews(service: LiveService) -> None:
    key = user_key()
    jwt = (await service.login("alice@example.com", key)).json()["jwt"]
    now = int(time.time())
    async with service.running.database.writing() as session:
        user = (await session.scalars(select(User))).one()
        user.superseded_at = now
    assert (await service.call("GET", "/v1/me", "DPoP", jwt, key)).status_code == 401
    renewed = (await service.renew(jwt, key)).json()
    assert decode_user(renewed["jwt"]).issued_at == now + 1 or (
        decode_user(renewed["jwt"]).issued_at > now
    )
    assert (await service.call("GET", "/v1/me", "DPoP", renewed["jwt"], key)).status_code == 200


async def test_many_at_once_on_one_key_and_user(service: LiveService) -> None:
    key = user_key()
    answers = await asyncio.gather(
        *(service.login("alice@example.com", key) for _ in range(20)),
        *(service.login("bob@example.com") for _ in range(20)),
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers[:20]}) == 1
    assert len({answer.json()["id"] for answer in answers[20:]}) == 20
    async with service.running.database.reading() as session:
        users = list(await session.scalars(select(User)))
        events = list(await session.scalars(select(col(AuditEvent.action))))
    assert len(users) == 2
    assert events.count("user.create") == 2
    assert events.count("credential.issue") == 40


@pytest.mark.parametrize(
    "name",
    ["*@x.com", "a*b@x.com", "a+b@x.com", "x@*.com", "{{name()}}@x.com", "bob-smith@my-org.co.uk"],
)
async def test_hostile_names_are_encoded(service: LiveService, name: str) -> None:
    body = (await service.login(name)).json()
    assert body["username"] == name
    assert decode_user(body["jwt"]).permissions == permissions(token(name))
    assert not set(body["subject_token"]) & set("*>. {}()")
