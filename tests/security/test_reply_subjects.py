"""A reply subject is no way around permissions, because streams live in an account of their own.

Every attack is first shown to work where people and streams share an account.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING

import orjson
import pytest

from authsvc import subjects
from authsvc.claims import Permission, Permissions
from authsvc.server.policy import JS_PREFIX, permissions
from tests.fixtures.nats import NatsKit, NatsServer, Realm
from tests.fixtures.waiting import until
from tests.security import attacks
from tests.security.attacks import ALICE, CAROL, MALLORY, TRIGGERS, WORKING, A, C, M, Stage
from tests.security.mailboxes import Mailboxes

if TYPE_CHECKING:
    from authsvc.claims import Creds
    from tests.fixtures.nats import NewNats
    from tests.security.conftest import RawConnect
    from tests.security.raw import RawClient

NOTICED_SECONDS = 0.03


@pytest.fixture(scope="module", params=[False, True], ids=["ack v1", "ack v2"])
def second_form(request: pytest.FixtureRequest) -> bool:
    """Which form acknowledgement subjects have."""
    return bool(request.param)


@pytest.fixture(scope="module")
def _server(
    second_form: bool,  # noqa: FBT001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NatsServer]:
    flags = {"js_ack_fc_v2": second_form}
    server = NatsServer(Realm(), tmp_path_factory.mktemp("nats"), feature_flags=flags)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_nats(_server: NatsServer) -> AsyncIterator[NatsKit]:
    """A server of this module's own, for each form; a test makes the streams anew."""
    kit = NatsKit(_server.realm, [_server])
    yield kit
    await kit.close()


def shared_account_creds(kit: NatsKit, name: str) -> Creds:
    """The contract's rights, in an account that has the streams too."""
    allowed = permissions(subjects.token(name))
    publish = (entry.replace(JS_PREFIX, "$JS.API") for entry in allowed.publish.allow)
    control = Permissions(publish=Permission(allow=tuple(publish)), subscribe=allowed.subscribe)
    return kit.user_creds(name, account=kit.realm.control, allowed=control)


async def stage(kit: NatsKit, raw: RawConnect, *, shared: bool = False) -> Stage:
    account = kit.realm.control if shared else kit.realm.mail
    provisioner = await kit.connect(kit.realm.provisioner_creds(account))
    alice, mallory, carol = [
        await raw(shared_account_creds(kit, name) if shared else name, kit)
        for name in (ALICE, MALLORY, CAROL)
    ]
    prefix = "$JS.API" if shared else JS_PREFIX
    return Stage(prefix, Mailboxes(provisioner), alice, mallory, carol)


async def _changed(one: Stage, before: object) -> bool:
    try:
        return await one.mailboxes.contents(ALICE) != before
    except AssertionError:  # a stream or a consumer went while it was looked at
        return True
    except TimeoutError:  # nats-server was asked for one that was going, and said nothing
        return False


@pytest.mark.parametrize("trigger", TRIGGERS)
async def test_it_works_in_one_account(nats_kit: NatsKit, raw: RawConnect, trigger: str) -> None:
    one = await stage(nats_kit, raw, shared=True)
    for effect in WORKING[trigger]:
        await one.set()
        before = await one.mailboxes.contents(ALICE)
        await TRIGGERS[trigger](one, attacks.targets("$JS.API")[effect])
        await one.mallory.settle()
        await until(partial(_changed, one, before))
    assert await one.mallory.refused() == []


@pytest.mark.parametrize("trigger", TRIGGERS)
async def test_nothing_happens_in_two_accounts(
    own_nats: NatsKit, raw: RawConnect, trigger: str
) -> None:
    await _attack(await stage(own_nats, raw), trigger)


async def test_nothing_happens_on_three_servers(new_nats: NewNats, raw: RawConnect) -> None:
    kit = new_nats(count=3)
    two = await stage(kit, raw)
    await two.mailboxes.ready()
    for trigger in TRIGGERS:
        await _attack(two, trigger, replicas=3)


async def _attack(two: Stage, trigger: str, replicas: int = 1) -> None:
    """Attack alice in every way, and see that all she has is there and reaches her."""
    await two.set(replicas)
    before = await two.mailboxes.contents(ALICE)
    assert before[f"requests_{A} chat"]
    replies = [it for at in ("$JS.API", JS_PREFIX) for it in attacks.targets(at).values()]
    for reply in replies:
        await TRIGGERS[trigger](two, reply)
    await two.mallory.settle()
    await asyncio.sleep(attacks.ANSWERED_SECONDS.get(trigger, 0) + NOTICED_SECONDS)
    assert await two.mailboxes.contents(ALICE) == before
    # The trigger itself did its work: it was not refused. The answer to it may have been, aloud.
    refused = await two.mallory.refused()
    assert [it for it in refused if not any(f'"{reply}"' in it for reply in replies)] == []
    for _ in range(attacks.WAITING - 1):
        item = await two.pull(two.alice, A)
        assert (item.subject, item.body) == (f"requests.{C}.{A}.chat.stored", b"hello")


async def test_an_ack_subject_is_refused_as_reply(nats_kit: NatsKit, raw: RawConnect) -> None:
    """nats-server itself sees to it, so that no one's request is acknowledged by another."""
    two = await stage(nats_kit, raw)
    await two.set()
    await two.submit()
    await two.mallory.refused()
    two.mallory.publish(f"requests.{M}.{M}.chat.stored", b"", two.in_flight)
    (error,) = await two.mallory.refused()
    assert f'Publish with Reply of "{two.in_flight}"' in error


async def test_live_only_what_the_server_made_can_be_shown(
    nats_kit: NatsKit, raw: RawConnect
) -> None:
    """Under a forged subject never the attacker's words, and no header but the server's own."""
    two = await stage(nats_kit, raw)
    await two.set()
    two.alice.subscribe(f"responses.{A}.>")
    two.alice.subscribe(f"requests.*.{A}.>", "chat")
    await two.alice.settle()
    two.alice.heard.clear()
    forged = (f"responses.{A}.{C}.chat.{attacks.ID}", f"requests.{C}.{A}.chat")
    for trigger in TRIGGERS.values():
        for reply in forged:
            await trigger(two, reply)
    await two.mallory.settle()
    await asyncio.sleep(max(attacks.ANSWERED_SECONDS.values()) + NOTICED_SECONDS)
    await two.alice.settle()
    shown = [item for item in two.alice.heard if item.subject in forged]
    own = [item for item in two.alice.heard if item.subject not in forged]
    assert len(shown) >= len(TRIGGERS)
    for item in shown:
        assert attacks.MARK not in item.body + item.headers
        status, *lines = item.headers.rstrip().split(b"\r\n")
        assert not item.headers or status.startswith(b"NATS/1.0 ")
        assert all(line.startswith((b"Nats-Pending-", b"Nats-Last-")) for line in lines)
    # Stored messages of the attacker's own arrive too, under their true subject.
    assert own
    assert {(item.subject, item.body) for item in own} == {
        (f"requests.{M}.{M}.chat.stored", attacks.MARK)
    }


async def test_legitimate_use(own_nats: NatsKit, raw: RawConnect, *, second_form: bool) -> None:
    two = await stage(own_nats, raw)
    await two.set()
    alice, carol = two.alice, two.carol
    # Submitting brings the stream's receipt; a user without a mailbox is known at once.
    receipt = await carol.ask(f"requests.{C}.{A}.chat.stored", b"more", f"_INBOX.{C}.ack")
    assert orjson.loads(receipt.body) == {"stream": f"requests_{A}", "seq": attacks.WAITING + 1}
    for absent in (f"requests.{C}.{A}.other.stored", f"requests.{C}.nobody.chat.stored"):
        nobody = await carol.ask(absent, b"", f"_INBOX.{C}.ack")
        assert nobody.headers.startswith(b"NATS/1.0 503")
    # Pulling and acknowledging; the receipt of the acknowledgement is an empty message.
    form = b"$JS.ACK._." if second_form else f"$JS.ACK.requests_{A}.".encode()
    for left in (3, 2, 1):
        item = await two.pull(alice, A)
        assert item.reply.encode().startswith(form)
        done = await alice.ask(item.reply, b"+ACK", f"_INBOX.{A}.done")
        assert (done.body, done.headers) == (b"", b"")
        state = (await two.mailboxes.contents(ALICE))[f"requests_{A}"]
        assert isinstance(state, dict)
        assert state["messages"] == left
    # An empty mailbox says so when asked not to wait.
    empty = f"{JS_PREFIX}.CONSUMER.MSG.NEXT.requests_{A}.chat"
    nothing = await alice.ask(empty, b'{"batch":1,"no_wait":true}', f"_INBOX.{A}.p")
    assert nothing.headers.startswith(b"NATS/1.0 404")
    # A stored response is read by its subject.
    subject = f"responses.{A}.{C}.chat.{attacks.ID}.stored"
    query = orjson.dumps({"last_by_subj": subject})
    found = await alice.ask(f"{JS_PREFIX}.STREAM.MSG.GET.responses_{A}", query, f"_INBOX.{A}.get")
    message = orjson.loads(found.body)["message"]
    assert (message["subject"], message["data"]) == (subject, "YW5zd2Vy")
    assert await alice.refused() + await carol.refused() == []


async def _all_refused(client: RawClient, spoken: list[str], heard: tuple[str, ...]) -> None:
    for subject in spoken:
        client.publish(subject)
    for subject in heard:
        client.subscribe(subject)
    assert len(await client.refused()) == len(spoken) + len(heard)


async def test_the_provisioner_reads_nothing(nats_kit: NatsKit, raw: RawConnect) -> None:
    two = await stage(nats_kit, raw)
    await two.set()
    client = await raw(nats_kit.realm.provisioner_creds())
    tried = [
        f"$JS.API.STREAM.MSG.GET.responses_{A}",
        f"$JS.API.DIRECT.GET.responses_{A}",
        f"$JS.API.STREAM.PURGE.responses_{A}",
        f"$JS.API.STREAM.SNAPSHOT.responses_{A}",
        f"$JS.API.STREAM.RESTORE.responses_{A}",
        f"$JS.API.STREAM.MSG.DELETE.responses_{A}",
        f"$JS.API.CONSUMER.MSG.NEXT.requests_{A}.chat",
        f"requests.{C}.{A}.chat.stored",
        f"responses.{A}.{C}.chat.{attacks.ID}.stored",
        "$SYS.REQ.SERVER.PING",
    ]
    await _all_refused(client, tried, (">", "requests.>", "responses.>", "$JS.>", "_INBOX.>"))


async def test_the_postmaster_changes_no_stream(nats_kit: NatsKit, raw: RawConnect) -> None:
    two = await stage(nats_kit, raw)
    await two.set()
    client = await raw(nats_kit.realm.postmaster_creds())
    consumer = f"CONSUMER.CREATE.requests_{A}.spy.requests.*.{A}.chat.stored"
    tried = [
        *(f"$JS.API.STREAM.{it}.requests_{A}" for it in ("CREATE", "UPDATE", "DELETE", "INFO")),
        f"$JS.API.{consumer}",
        f"$JS.API.CONSUMER.DELETE.requests_{A}.chat",
        f"$JS.API.CONSUMER.MSG.NEXT.requests_{A}.chat",
        f"$JS.ACK.requests_{A}.chat.1.1.1.1.0",
        f"$JS.API.STREAM.SNAPSHOT.requests_{A}",
        f"responses.{A}.{C}.chat.{attacks.ID}.stored",
        f"requests.{C}.{A}.chat",
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.requests_a.b",
        "$SYS.REQ.SERVER.PING",
    ]
    await _all_refused(client, tried, (">", "requests.>", "responses.>", "$JS.>", "_INBOX.>"))


async def test_the_herald_only_answers(nats_kit: NatsKit, raw: RawConnect) -> None:
    two = await stage(nats_kit, raw)
    await two.set()
    client = await raw(nats_kit.realm.herald_creds())
    tried = [
        f"requests.{C}.{A}.chat.stored",
        f"responses.{A}.{C}.chat.{attacks.ID}",
        f"{JS_PREFIX}.STREAM.MSG.GET.responses_{A}",
        f"{JS_PREFIX}.CONSUMER.MSG.NEXT.requests_{A}.chat",
        f"$JS.ACK.requests_{A}.chat.1.1.1.1.0",
        f"_INBOX.{A}.x",
        "$SYS.REQ.USER.INFO",
    ]
    await _all_refused(client, tried, (">", "requests.>", "responses.>", "$JS.>", f"_INBOX.{A}.>"))
    # Its answer reaches who is online, and is kept for who is away.
    two.alice.subscribe(f"responses.{A}.>")
    await two.alice.settle()
    subject = f"responses.{A}.{C}.chat.{'1' * 32}.stored"
    client.subscribe("_INBOX.AUTHSVC-herald.>")
    receipt = await client.ask(subject, b"told", "_INBOX.AUTHSVC-herald.r")
    assert orjson.loads(receipt.body)["stream"] == f"responses_{A}"
    await two.alice.settle()
    assert [(it.subject, it.body) for it in two.alice.heard if it.body == b"told"] == [
        (subject, b"told")
    ]
