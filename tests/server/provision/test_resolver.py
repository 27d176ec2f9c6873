"""The resolver against real servers: one, three, and none."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING

import pytest
from nats.errors import Error as NatsError

from authsvc.server.provision.binary import find_nats_server
from authsvc.server.provision.config import Listen, Tls, operator_config
from authsvc.server.provision.connection import Connection
from authsvc.server.provision.ports import Listener, choose_port
from authsvc.server.provision.resolver import Resolver, Server
from authsvc.server.provision.supervisor import Supervisor
from tests.fixtures.nats import HOST, NatsKit, NewNats, Realm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


class Opened:
    """A resolver and the servers it was told of."""

    def __init__(self, kit: NatsKit) -> None:
        creds = kit.realm.system_creds()
        urls = [server.url for server in kit.servers]
        self.resolver = Resolver(urls, creds.jwt, creds.key)
        # One may be told twice: by its statistics, and by its answer as the connection opens.
        self.appeared: set[Server] = set()
        self.resolver.on_server(self.appeared.add)


@pytest.fixture
async def open_resolver() -> AsyncIterator[Callable[[NatsKit], Opened]]:
    opened: list[Opened] = []

    def make(kit: NatsKit) -> Opened:
        opened.append(Opened(kit))
        return opened[-1]

    yield make
    for one in opened:
        await one.resolver.close()


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  what is polled has no event
            await asyncio.sleep(0.02)


def newer(realm: Realm, after: int, revocations: dict[str, int] | None = None) -> str:
    realm.set_accounts(realm.now + after, revocations)
    return realm.account_jwt(realm.people)


async def test_a_push_is_answered_and_can_be_looked_up(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    kit = new_nats()
    one = open_resolver(kit)
    assert await one.resolver.connect()
    (server,) = await one.resolver.servers()
    assert (server.name, server.version) == ("n0", "2.15.1")
    assert one.appeared == {server}
    people = kit.realm.people.public
    assert await one.resolver.lookup(people) == kit.realm.account_jwt(kit.realm.people)
    jwt = newer(kit.realm, 5)
    began = time.monotonic()
    (answer,) = await one.resolver.push(jwt)
    assert (answer.server_id, answer.name, answer.applied, answer.error) == (
        server.id, "n0", True, None,
    )  # fmt: skip
    assert await one.resolver.lookup(people) == jwt
    assert time.monotonic() - began < 0.5


async def test_a_push_that_is_no_account_is_not_applied(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    one = open_resolver(new_nats())
    await one.resolver.connect()
    (answer,) = await one.resolver.push("eyJ0eXAiOiJKV1QifQ.e30.AA")
    assert not answer.applied
    assert answer.error
    assert "jwt update" in answer.error


async def test_an_unknown_account_is_none(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    one = open_resolver(new_nats())
    await one.resolver.connect()
    assert await one.resolver.lookup(Realm().people.public) is None


async def test_only_the_lookup_tells_that_an_older_jwt_was_taken(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    kit = new_nats()
    one = open_resolver(kit)
    await one.resolver.connect()
    old, new = newer(kit.realm, 1), newer(kit.realm, 5)
    await one.resolver.push(new)
    (answer,) = await one.resolver.push(old)
    assert answer.applied
    assert await one.resolver.lookup(kit.realm.people.public) == old


async def test_a_revocation_ends_the_connection(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    kit = new_nats()
    one = open_resolver(kit)
    await one.resolver.connect()
    creds = kit.user_creds("alice@example.com")
    ended = asyncio.Event()

    async def closed() -> None:
        ended.set()

    await kit.connect(creds, closed_cb=closed)
    bystander = await kit.connect("bob@example.com")
    key = creds.key.public.text
    began = time.monotonic()
    await one.resolver.push(newer(kit.realm, 5, {key: int(time.time())}))
    async with asyncio.timeout(2):
        await ended.wait()
    assert time.monotonic() - began < 0.5
    assert bystander.is_connected
    with pytest.raises(NatsError):
        await kit.connect(creds)


async def test_a_restarted_server_is_told_and_reached_again(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    kit = new_nats()
    one = open_resolver(kit)
    await one.resolver.connect()
    (before,) = await one.resolver.servers()
    kit.server.restart(kill=True)
    ready = time.monotonic()
    await until(lambda: len(one.appeared) == 2)
    assert time.monotonic() - ready < 3
    (after,) = await one.resolver.servers()
    assert after.name == before.name
    assert after.id != before.id
    (answer,) = await one.resolver.push(newer(kit.realm, 5))
    assert (answer.server_id, answer.applied) == (after.id, True)


async def test_without_a_server_nothing_is_applied_and_it_connects_later(
    new_nats: NewNats,
    open_resolver: Callable[[NatsKit], Opened],
) -> None:
    kit = new_nats()
    kit.server.stop()
    one = open_resolver(kit)
    assert not await one.resolver.connect(wait=0.3)
    assert not one.resolver.connected
    assert one.resolver.error
    assert await one.resolver.servers() == []
    assert await one.resolver.push("a.b.c") == []
    assert await one.resolver.lookup(kit.realm.people.public) is None
    kit.server.start()
    await until(lambda: len(one.appeared) == 1)
    assert one.resolver.error is None


async def test_three_servers_answer_each_and_a_dead_one_is_named(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    kit = new_nats(count=3)
    one = open_resolver(kit)
    await one.resolver.connect()
    await until(lambda: len(one.appeared) == 3)
    answers = await one.resolver.push(newer(kit.realm, 5))
    assert [(answer.name, answer.applied) for answer in answers] == [
        ("n0", True), ("n1", True), ("n2", True),
    ]  # fmt: skip
    connected = one.resolver._connection.client
    assert connected is not None
    url = connected.connected_url
    assert url is not None
    dead = next(server for server in kit.servers if server.port != url.port)
    dead.stop(kill=True)
    answers = await one.resolver.push(newer(kit.realm, 6))
    assert {answer.name for answer in answers if answer.applied} == {"n0", "n1", "n2"} - {dead.name}
    (silent,) = [answer for answer in answers if not answer.applied]
    assert (silent.name, silent.error) == (dead.name, "no answer")
    dead.start()
    await until(lambda: len(one.appeared) == 4)
    jwt = newer(kit.realm, 7)
    assert all(answer.applied for answer in await one.resolver.push(jwt))
    assert len(await one.resolver.servers()) == 3
    assert await one.resolver.lookup(kit.realm.people.public) == jwt


async def test_where_servers_differ_the_lookup_gives_the_oldest(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    kit = new_nats(count=2)
    one = open_resolver(kit)
    await one.resolver.connect()
    await until(lambda: len(one.appeared) == 2)
    old, new = newer(kit.realm, 1), newer(kit.realm, 5)
    await one.resolver.push(new)
    people = kit.realm.people.public
    # As one that was restored from a backup would: nothing in nats-server stops it.
    stored = kit.servers[1].folder / "accounts" / f"{people}.jwt"
    stored.write_text(old)
    assert await one.resolver.lookup(people) == old


async def test_over_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    realm, port = Realm(), choose_port(HOST)
    text = operator_config(
        Listen(HOST, port, Tls(str(certificate[0]), str(certificate[1]))),
        operator=realm.operator_jwt,
        system_account=realm.system.public,
        preload=realm.preload(),
        server_name="n1",
        data_dir=str(tmp_path),
    )
    config = tmp_path / "nats.conf"
    await asyncio.to_thread(config.write_text, text)
    supervisor = Supervisor(
        find_nats_server().path,
        config,
        data_dir=tmp_path,
        log_path=tmp_path / "nats.log",
        listeners=[Listener("NATS clients", HOST, port)],
    )
    await supervisor.start()
    creds = realm.system_creds()
    context = ssl.create_default_context(cafile=certificate[0])
    trusting = Resolver([f"tls://{HOST}:{port}"], creds.jwt, creds.key, tls=lambda: context)
    doubting = Resolver([f"tls://{HOST}:{port}"], creds.jwt, creds.key)
    try:
        assert await trusting.connect()
        assert [server.name for server in await trusting.servers()] == ["n1"]
        assert not await doubting.connect(wait=0.2)
        await until(lambda: "certificate" in (doubting.error or ""))
    finally:
        await trusting.close()
        await doubting.close()
        await supervisor.stop()


async def test_the_websocket_listener_is_there(nats_kit: NatsKit) -> None:
    reader, writer = await asyncio.open_connection(HOST, nats_kit.server.websocket_port)
    writer.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    async with asyncio.timeout(5):
        assert b" 101 " in await reader.readline()
        found = await reader.readuntil(b"INFO {")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in found
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    "subject",
    [
        "$SYS.REQ.CLAIMS.DELETE",
        "$SYS.REQ.CLAIMS.LIST.x",
        "$SYS.REQ.CLAIMS.PACK",
        "$SYS.REQ.SERVER.PING.CONNZ",
        "$SYS.REQ.SERVER.NAAAA.LDM",
        "$SYS.REQ.SERVER.PING.KICK.x",
        "$SYS.REQ.SERVER.NAAAA.RELOAD",
        "$SYS.REQ.ACCOUNT.AAAA.CONNZ",
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.REQ.ACCOUNT.AAAA.CLAIMS.UPDATE",
        "$SYS.ACCOUNT.AAAA.CLAIMS.UPDATE",
        "requests.alice.bob.chat",
    ],
)
async def test_the_system_user_may_publish_nothing_else(nats_kit: NatsKit, subject: str) -> None:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats_kit.connect(nats_kit.realm.system_creds(), error_cb=note)
    await client.publish(subject, b"")
    await until(lambda: bool(refused), 5)
    assert "permissions violation" in refused[0]


@pytest.mark.parametrize(
    "subject",
    [
        ">",
        "$SYS.>",
        "$SYS.ACCOUNT.>",
        "$SYS.ACCOUNT.*.CONNECT",
        "$SYS.ACCOUNT.AAAA.CONNECT",
        "$SYS.SERVER.>",
        "$SYS.REQ.>",
        "$SYS.SERVER.*.CLIENT.>",
        "_INBOX.>",
    ],
)
async def test_the_system_user_may_hear_nothing_else(nats_kit: NatsKit, subject: str) -> None:
    refused: list[str] = []

    async def note(error: Exception) -> None:
        refused.append(str(error))

    client = await nats_kit.connect(nats_kit.realm.system_creds(), error_cb=note)
    await client.subscribe(subject)
    await until(lambda: bool(refused), 5)
    assert "permissions violation" in refused[0]


@pytest.mark.parametrize("nonce", ["", "a.b.c", "x" * 65, "eyJ0eXAi.eyJqdGkiOiIxIn0"])
async def test_a_nonce_that_could_be_something_else_is_not_signed(
    nats_kit: NatsKit, nonce: str
) -> None:
    creds = nats_kit.realm.system_creds()

    async def nothing(_: object) -> None:
        return

    connection = Connection([nats_kit.url], creds.jwt, creds.key, name="x", on_open=nothing)
    assert connection._sign(nonce) == b""
    assert connection._sign("AbC-_9") != b""


async def test_replicas_do_not_take_each_other_s_answers(
    new_nats: NewNats, open_resolver: Callable[[NatsKit], Opened]
) -> None:
    """They log in as the same user and so hear the same inboxes."""
    kit = new_nats()
    one, two = open_resolver(kit), open_resolver(kit)
    await one.resolver.connect()
    await two.resolver.connect()
    for turn in range(10):
        good, bad = await asyncio.gather(
            one.resolver.push(newer(kit.realm, turn)),
            two.resolver.push("eyJ0eXAiOiJKV1QifQ.e30.AA"),
        )
        assert [answer.applied for answer in (*good, *bad)] == [True, False]
