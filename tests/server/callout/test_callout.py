"""Clients that come to nats-server without a JWT: who is let in, as whom, and who is not."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import func, select

from authsvc import subjects
from authsvc.claims import (
    Authorization,
    AuthorizationRequestClaims,
    AuthorizationResponseClaims,
    Creds,
    decode,
    encode,
    parse_creds,
)
from authsvc.claims.authorization import ClientInformation, ConnectOptions, ServerId
from authsvc.nkey import KeyPair, Prefix
from authsvc.server.callout import REFUSAL, Responder
from authsvc.server.callout.question import XKEY_HEADER
from authsvc.server.models import Credential, User
from authsvc.server.policy import permissions
from authsvc.xkey import CurveKey
from tests.fixtures.authsvc import LiveService, StartService, access_token
from tests.fixtures.nats import HOST, connect_options
from tests.fixtures.waiting import until
from tests.security.raw import RawClient
from tests.server.callout.clients import (
    ALICE,
    BOB,
    A,
    B,
    about,
    credentials,
    events,
    jwt_client,
    refused,
    server_log,
    set_user,
)
from tests.server.callout.conftest import Connect, port_of, push_door, responder_of


async def test_who_comes_with_a_token_may_do_what_a_jwt_of_theirs_allows(
    door: LiveService, connect: Connect
) -> None:
    token = access_token(ALICE)
    by_password = await about(await connect(door, ALICE, user="syftbox", password=token))
    by_name = await about(await connect(door, ALICE, user="Alice@Example.COM", password=token))
    by_token = await about(await connect(door, ALICE, user=None, password=None, token=token))
    by_jwt = await about(await jwt_client(door, connect, ALICE))
    allowed = permissions(A)
    for found in (by_password, by_name, by_token, by_jwt):
        assert found["account"] == door.running.material.people
        assert sorted(found["permissions"]["publish"]["allow"]) == sorted(allowed.publish.allow)
        assert sorted(found["permissions"]["subscribe"]["allow"]) == sorted(allowed.subscribe.allow)
        assert {*found["permissions"]["publish"], *found["permissions"]["subscribe"]} == {"allow"}
        assert found["expires"] > 3500e9
    assert by_password["user"] == A


async def test_it_is_written_down_like_every_login(any_door: LiveService, connect: Connect) -> None:
    await connect(any_door, ALICE, name="alice's laptop")
    (row,) = await credentials(any_door)
    assert (row.method, row.name, row.ttl, row.app) == ("callout", "alice's laptop", None, None)
    (event,) = await events(any_door, "credential.issue")
    assert (event.target_id, event.address, event.actor_kind) == (row.id, "127.0.0.1", "user")
    assert event.actor_id == row.user_id
    assert len(event.request_id) == 32
    assert {name: event.details[name] for name in ("username", "method", "login", "server")} == {
        "username": ALICE, "method": "callout", "login": "syftbox", "server": "authsvc-nats",
    }  # fmt: skip
    (created,) = await events(any_door, "user.create")
    assert created.details == {"username": ALICE, "method": "syftbox"}
    key = KeyPair.generate(Prefix.USER)
    jwt = (await any_door.login(ALICE, key)).json()["jwt"]
    items = (await any_door.call("GET", "/v1/credentials", "DPoP", jwt, key)).json()["items"]
    assert [item["method"] for item in items] == ["syftbox", "callout"]


async def test_both_kinds_of_clients_talk_with_each_other(
    door: LiveService, connect: Connect
) -> None:
    alice, bob = await connect(door, ALICE), await jwt_client(door, connect, BOB)
    asked = await bob.subscribe(f"requests.*.{B}.>", queue="chat")
    answered = await alice.subscribe(f"responses.{A}.>")
    for client in (bob, alice):
        await client.flush()
        await client.flush()
    await alice.publish(f"requests.{A}.{B}.chat", b"hello")
    assert (await asked.next_msg(timeout=5)).data == b"hello"
    await bob.publish(f"responses.{A}.{B}.chat.1", b"hi")
    assert (await answered.next_msg(timeout=5)).data == b"hi"


NOW = int(time.time())
BAD_TOKENS = {
    "nothing": "",
    "no token": "hunter2",
    "forged": access_token(ALICE, secret="x" * 64),
    "expired": access_token(ALICE, exp=NOW - 1),
    "without end": access_token(ALICE, exp=None),
    "refresh": access_token(ALICE, type="refresh"),
    "no e-mail": access_token("alice"),
    "unsigned": ".".join([*access_token(ALICE).split(".")[:2], ""]),
    "not ASCII": "tökén",
    "too long": "x" * 3700,
}


async def test_nothing_but_a_good_token_lets_anybody_in(
    own_door: LiveService, connect: Connect
) -> None:
    door = own_door
    for token in BAD_TOKENS.values():
        await refused(door, connect, user="syftbox", password=token)
        await refused(door, connect, token=token)
    good = access_token(ALICE)
    await refused(door, connect, user=BOB, password=good)
    await refused(door, connect, user="bob@", password=good)
    await refused(door, connect)
    assert await credentials(door) == []
    assert await events(door, "credential.issue") == []
    log = server_log(door)
    assert "authorization refused" in log
    for secret in [good, *BAD_TOKENS.values()]:
        assert not secret or secret not in log


async def test_the_sentinel_alone_is_worth_nothing(door: LiveService, connect: Connect) -> None:
    found = (await door.http.get("/.well-known/authsvc")).json()["callout"]
    creds = parse_creds(found["creds"])
    assert creds.jwt == found["sentinel"]
    await refused(door, connect, **connect_options(creds))
    forged = BAD_TOKENS["forged"]
    for said in (
        {},
        {"jwt": creds.jwt},
        {"jwt": creds.jwt, "user": "syftbox", "pass": forged},
        {"jwt": creds.jwt, "auth_token": forged},
        {"jwt": "rubbish", "user": ALICE},
        {"user": "sentinel", "pass": creds.jwt},
    ):
        client = await RawClient.login(HOST, port_of(door), **said)
        assert client.errors[-1] == "closed"
        assert {*client.errors} <= {"'Authorization Violation'", "closed"}
        await client.close()
    assert await credentials(door) == []
    # With a token it only says whom to ask.
    inside = await connect(door, ALICE, token=access_token(ALICE), **connect_options(creds))
    assert (await about(inside))["account"] == door.running.material.people


async def test_if_nobody_were_asked_the_sentinel_could_do_nothing(own_door: LiveService) -> None:
    """Even where nats-server lets it in for itself: its JWT and the account deny everything."""
    door = own_door
    assert door.running.door is not None
    await push_door(door, Authorization())
    client = await RawClient.login(HOST, port_of(door), jwt=door.running.door.sentinel)
    assert await client.refused() == []
    for subject in ("a", "requests.x.y.z", "$SYS.REQ.USER.AUTH", "$SYS.REQ.USER.INFO"):
        client.publish(subject)
    for subject in (">", "_INBOX.>", "$SYS.REQ.USER.AUTH"):
        client.subscribe(subject)
    found = await client.refused()
    assert len(found) == 7
    assert all("Permissions Violation" in text for text in found)
    await client.close()


async def test_the_users_that_http_refuses_are_refused_here(
    start_service: StartService, connect: Connect
) -> None:
    door = await start_service(callout=True, auto_create_users=False, user_max_connections=1)
    await refused(door, connect, user="syftbox", password=access_token(ALICE))
    async with door.running.database.writing() as session:
        session.add(User(id="usr_1", username=ALICE, token=A, kind="email", created_at=NOW))
    await connect(door, ALICE)
    await set_user(door, ALICE, disabled_at=NOW)
    await refused(door, connect, user="syftbox", password=access_token(ALICE))
    # nats-server would not apply limits of the user's own.
    for limits in ({"max_payload": 1024}, {"max_payload": None, "max_subscriptions": 5}):
        await set_user(door, ALICE, disabled_at=None, **limits)
        await refused(door, connect, user="syftbox", password=access_token(ALICE))
    await set_user(door, ALICE, max_subscriptions=None)
    for _ in range(9):
        await connect(door, ALICE)
    await refused(door, connect, user="syftbox", password=access_token(ALICE))
    assert len(await events(door, "credential.issue")) == len(await credentials(door)) == 10
    assert (await door.login(ALICE)).status_code == 201


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_connections_by_token_are_counted_with_the_users_others(
    start_service: StartService, connect: Connect
) -> None:
    door = await start_service(callout=True, user_max_connections=2)
    kept = [await jwt_client(door, connect, ALICE), await connect(door, ALICE)]
    kept.append(await connect(door, BOB))
    for extra in (await connect(door, ALICE), await jwt_client(door, connect, ALICE)):
        await until(lambda extra=extra: extra.is_closed, 3)  # type: ignore[misc]
    assert all(client.is_connected for client in kept)


async def test_nobody_can_ask_or_answer_in_nats_servers_place(
    door: LiveService, connect: Connect
) -> None:
    running = door.running
    assert running.door is not None
    alice = await RawClient.login(HOST, port_of(door), user="x", **{"pass": access_token(ALICE)})
    login = (await door.login(BOB)).json()
    bob = await RawClient.connect(HOST, port_of(door), Creds(login["jwt"], door.keys[BOB]))
    own = Creds(running.door.user_jwt, running.door.user_key)
    service = await RawClient.connect(HOST, port_of(door), own)
    for client in (alice, bob, service):
        assert await client.refused() == []
        client.publish("$SYS.REQ.USER.AUTH", b"", f"_INBOX.{A}.x")
        for queue in ("", "other"):
            client.subscribe("$SYS.REQ.USER.AUTH", queue)
        client.subscribe("$SYS.>")
        client.subscribe("$SYS._INBOX.>")
        client.publish("$SYS._INBOX.abcdefgh.12345678.x")
        assert len(await client.refused()) == 6
    for client in (alice, bob):
        client.subscribe("$SYS.REQ.USER.AUTH", "authsvc")
        client.publish("$SYS._INBOX.abcdefgh.12345678")
        assert len(await client.refused()) == 2
    for client in (alice, bob, service):
        await client.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_dev_login_is_for_this_machine_alone(
    start_service: StartService, connect: Connect
) -> None:
    door = await start_service(callout=True, dev_login=True)
    assert door.running.door is not None
    await about(await connect(door, ALICE, user="dev", password=ALICE))
    await refused(door, connect, user="syftbox", password=ALICE)
    server, xkey = KeyPair.generate(Prefix.SERVER), CurveKey.generate()
    away = Responder(door.running, door.running.door, ["nats://192.0.2.7:4222"])
    for responder, address, error in (
        (responder_of(door), "127.0.0.1", ""),
        (responder_of(door), "192.0.2.1", REFUSAL),
        (away, "127.0.0.1", REFUSAL),
    ):
        now = int(time.time())
        claims = AuthorizationRequestClaims(
            subject=door.running.door.account,
            audience="nats-authorization-request",
            server=ServerId(id=server.public.text, xkey=xkey.public),
            user_nkey=KeyPair.generate(Prefix.USER).public.text,
            client=ClientInformation(host=address),
            connect=ConnectOptions(user="dev", password=ALICE),
            issued_at=now,
            expires=now + 2,
        )
        asked = xkey.seal(encode(claims, server).encode(), door.running.door.xkey.public)
        sealed = await responder.answer(asked, {XKEY_HEADER: xkey.public}, now)
        answer = decode(xkey.open(sealed, door.running.door.xkey.public).decode())
        assert isinstance(answer, AuthorizationResponseClaims)
        assert (answer.subject, answer.audience) == (claims.user_nkey, server.public.text)
        assert (answer.error, bool(answer.jwt)) == (error, not error)


async def test_many_come_at_once(door: LiveService, connect: Connect) -> None:
    names = [f"user{number}@example.com" for number in range(60)]
    clients = await asyncio.gather(*[connect(door, name) for name in names])
    found = await asyncio.gather(*[about(client) for client in clients])
    assert [item["user"] for item in found] == [subjects.token(name) for name in names]
    async with door.running.database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Credential)) == 60
    assert len(await events(door, "credential.issue")) == 60
