"""No user has more connections than USER_MAX_CONNECTIONS; the newest go."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from authsvc.server.app import open_service
from authsvc.server.provision.closing_events import LIMIT
from authsvc.server.provision.resolver import Resolver
from authsvc.subjects import token
from tests.fixtures.authsvc import StartService
from tests.fixtures.nats import NatsKit
from tests.fixtures.waiting import until
from tests.server.provision.guests import Guests, closed, logged_in, quiet

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ALICE, BOB = "alice@example.com", "bob@example.com"


@on_sqlite
async def test_the_fourth_of_three_goes_within_a_second(
    start_service: StartService, guests: Guests
) -> None:
    service = await start_service(user_max_connections=3)
    before = closed()
    jwt, key = await logged_in(service, ALICE)
    # The user counts, not the credential.
    other = await logged_in(service, ALICE)
    mine = [await guests.connect(service, *login) for login in ((jwt, key), other, (jwt, key))]
    bobs = await guests.connect(service, *await logged_in(service, BOB))
    heard: list[list[bytes]] = [[] for _ in mine]
    for client, bodies in zip(mine, heard, strict=True):

        async def hear(message: Any, bodies: list[bytes] = bodies) -> None:
            bodies.append(message.data)

        await client.subscribe(f"requests.*.{token(ALICE)}.>", cb=hear)
        await client.flush()
    sent = 0
    for _ in range(3):
        began = time.monotonic()
        extra = await guests.connect(service, jwt, key)
        while not extra.is_closed:
            assert time.monotonic() - began < 1
            await bobs.publish(f"requests.{token(BOB)}.{token(ALICE)}.chat", str(sent).encode())
            sent += 1
            await asyncio.sleep(0.01)
    await bobs.flush()
    await until(lambda: all(len(bodies) == sent for bodies in heard), 3)
    assert heard[0] == [str(number).encode() for number in range(sent)]
    assert closed() - before == 3
    # One leaves, and another one may come and stay.
    await mine[1].close()
    last = await guests.connect(service, jwt, key)
    await quiet([mine[0], mine[2], last, bobs])
    assert closed() - before == 3


async def test_a_restarted_service_finds_who_is_there_and_replicas_agree(
    start_service: StartService, guests: Guests
) -> None:
    """The service starts with a smaller limit, twice at the same time."""
    service = await start_service(user_max_connections=6)
    before = closed()
    jwt, key = await logged_in(service, ALICE)
    mine = [await guests.connect(service, jwt, key) for _ in range(6)]
    bobs = await guests.connect(service, *await logged_in(service, BOB))
    settings = service.settings.model_copy(update={"user_max_connections": 4})
    async with open_service(settings), open_service(settings):
        await until(lambda: mine[4].is_closed and mine[5].is_closed, 5)
        await quiet([*mine[:4], bobs])
        for _ in range(2):
            extra = await guests.connect(service, jwt, key)
            await until(lambda extra=extra: extra.is_closed, 3)  # type: ignore[misc]
        await quiet([*mine[:4], bobs], 0.4)
        # Each was closed once, whoever of the two did it, and the audit has it once.
        assert closed() - before == 4

        events: list[dict[str, Any]] = []

        async def told() -> bool:
            answer = await service.admin("GET", f"/v1/admin/audit?action={LIMIT}")
            events[:] = answer.json()["items"]
            return bool(events)

        await until(told, 5)
        (event,) = events
    assert event["actor"] == {"kind": "service", "id": "connections"}
    assert event["target"]["kind"] == "user"
    assert (event["details"]["limit"], event["details"]["connections"]) == (4, 6)


async def test_nobody_but_the_system_user_can_close_connections(nats_kit: NatsKit) -> None:
    victim = await nats_kit.connect("victim")
    server, cid = victim._server_info["server_id"], victim.client_id or 0
    subject, body = f"$SYS.REQ.SERVER.{server}.KICK", b'{"cid":%d}' % cid
    realm = nats_kit.realm
    for creds in (
        nats_kit.user_creds("mallory"),
        realm.provisioner_creds(),
        realm.postmaster_creds(),
    ):
        refused: list[str] = []

        async def note(error: Exception, refused: list[str] = refused) -> None:
            refused.append(str(error))

        client = await nats_kit.connect(creds, error_cb=note)
        await client.publish(subject, body, reply="_INBOX.x")
        await until(lambda refused=refused: bool(refused), 5)  # type: ignore[misc]
        assert "permissions violation" in refused[0].lower()
        await victim.flush()
    creds = realm.system_creds()
    resolver = Resolver([nats_kit.url], creds.jwt, creds.key)
    assert await resolver.connect()
    try:
        assert await resolver.kick(server, cid) is True
        await until(lambda: victim.is_closed)
        assert await resolver.kick(server, cid) is False
        assert await resolver.kick("NNOBODY", cid) is None
    finally:
        await resolver.close()
