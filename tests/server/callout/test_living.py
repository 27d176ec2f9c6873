"""How connections by auth callout end, and who answers for them."""

from __future__ import annotations

import asyncio
import time

import pytest
from nats.errors import Error as NatsError

from authsvc.nkey import KeyPair, Prefix
from authsvc.server.callout import Responder
from authsvc.server.policy import permissions
from authsvc.server.sessions import forget_admissions
from tests.fixtures.authsvc import LiveService, StartService, access_token
from tests.server.callout.clients import (
    ALICE,
    BOB,
    A,
    about,
    credentials,
    events,
    jwt_client,
    refused,
    until,
)
from tests.server.callout.conftest import Connect, responder_of


async def test_revoking_cuts_the_connection(any_door: LiveService, connect: Connect) -> None:
    alice, bob = await connect(any_door, ALICE), await connect(any_door, BOB)
    by_jwt = await jwt_client(any_door, connect, ALICE)
    rows = await credentials(any_door)
    (row,) = [row for row in rows if row.method == "callout" and row.user_id == rows[0].user_id]
    key = any_door.keys[ALICE]
    jwt = (await any_door.login(ALICE, key)).json()["jwt"]
    answer = await any_door.call("DELETE", f"/v1/credentials/{row.id}", "DPoP", jwt, key)
    assert answer.json()["propagation"]["state"] == "applied"
    await until(lambda: alice.is_closed)
    assert "revoked" in str(alice.last_error).lower()
    await about(bob)
    await about(by_jwt)


async def test_disabling_or_deleting_a_user_cuts_all_their_connections(
    door: LiveService, connect: Connect
) -> None:
    people = [(name, [await connect(door, name) for _ in range(3)]) for name in (ALICE, BOB)]
    stays = await connect(door, "carol@example.com")
    for (name, clients), (method, path) in zip(
        people, (("POST", "/disable"), ("DELETE", "")), strict=True
    ):
        answer = await door.admin(method, f"/v1/admin/users/{name}{path}", "users:write")
        assert answer.json()["propagation"]["state"] == "applied"
        for client in clients:
            await until(lambda client=client: client.is_closed)
    await refused(door, connect, user="syftbox", password=access_token(ALICE))
    await about(stays)


async def test_grants_count_and_taking_one_away_cuts(door: LiveService, connect: Connect) -> None:
    await door.login(ALICE)
    grant = (
        await door.admin(
            "POST", "/v1/admin/grants", json={"username": ALICE, "publish": ["news.alice"]}
        )
    ).json()
    alice, bob = await connect(door, ALICE), await connect(door, BOB)
    assert "news.alice" in (await about(alice))["permissions"]["publish"]["allow"]
    answer = await door.admin("DELETE", f"/v1/admin/grants/{grant['id']}")
    assert answer.json()["propagation"]["state"] == "applied"
    await until(lambda: alice.is_closed)
    again = await about(await connect(door, ALICE))
    assert sorted(again["permissions"]["publish"]["allow"]) == sorted(permissions(A).publish.allow)
    await about(bob)


async def test_what_is_revoked_before_nats_server_let_it_in_is_cut_as_well(
    own_door: LiveService, connect: Connect
) -> None:
    """nats-server looks at revocations when it is told of them, not when it lets one in."""
    responder = responder_of(own_door)
    answer_of = responder.answer
    key = KeyPair.generate(Prefix.USER)
    jwt = (await own_door.login(ALICE, key)).json()["jwt"]

    async def slow(data: bytes, headers: dict[str, str], now: float) -> bytes:
        answer = await answer_of(data, headers, now)
        (row,) = [row for row in await credentials(own_door) if row.method == "callout"]
        gone = await own_door.call("DELETE", f"/v1/credentials/{row.id}", "DPoP", jwt, key)
        assert gone.json()["propagation"]["state"] == "applied"
        return answer

    responder.answer = slow  # type: ignore[method-assign]
    alice = await connect(own_door, ALICE)
    await about(alice)
    await until(lambda: alice.is_closed, seconds=8)
    assert "revoked" in str(alice.last_error).lower()


async def test_a_connection_ends_with_its_jwt_and_then_its_row(
    start_service: StartService, connect: Connect
) -> None:
    door = await start_service(callout=True, credential_ttl=2)
    alice = await connect(door, ALICE)
    await door.login(BOB)
    database = door.running.database
    async with database.writing() as session:
        await forget_admissions(session, time.time(), 2)
    assert len(await credentials(door)) == 2
    await until(lambda: alice.is_closed, seconds=6)
    async with database.writing() as session:
        await forget_admissions(session, time.time() + 2, 2)
    assert [row.method for row in await credentials(door)] == ["syftbox"]
    assert len(await events(door, "credential.issue")) == 2


async def test_while_nobody_answers_clients_with_a_jwt_notice_nothing(
    own_door: LiveService, connect: Connect
) -> None:
    door = own_door
    bob, alice = await jwt_client(door, connect, BOB), await connect(door, ALICE)
    await responder_of(door).stop()
    assert "callout" in (await door.http.get("/readyz")).json()["reasons"]
    with pytest.raises(NatsError, match="Authorization Violation"):
        await connect(door, ALICE)
    await about(alice)
    await about(bob)
    await about(await jwt_client(door, connect, BOB))
    assert door.running.door is not None
    again = Responder(door.running, door.running.door, [door.nats_url])
    await again.start()
    try:
        await about(await connect(door, ALICE))
    finally:
        await again.stop()


async def test_replicas_share_the_questions(own_door: LiveService, connect: Connect) -> None:
    door = own_door
    assert door.running.door is not None
    second = Responder(door.running, door.running.door, [door.nats_url])
    await second.start()
    try:
        names = [f"user{number}@example.com" for number in range(16)]
        await asyncio.gather(*[connect(door, name) for name in names])
        assert len(await credentials(door)) == 16
        shares = [len(one._admitted) for one in (responder_of(door), second)]
        assert sum(shares) == 16
        assert 0 not in shares
        await responder_of(door).stop()
        await about(await connect(door, ALICE))
    finally:
        await second.stop()
