"""What the service makes at nats-server: streams, consumers, and how messages go through them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from nats.errors import NoRespondersError

from authsvc import subjects
from authsvc.rpc._wire.frames import ResponseFrame, encode_response
from authsvc.server.policy import stream_names
from authsvc.server.provision.mail_rows import all_desired
from authsvc.server.provision.mail_streams import Bounds
from authsvc.server.provision.mailbox import Mailboxes
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.mailboxes.post import Person, config, names, person, streams_of

NS = 1_000_000_000


@pytest.fixture(scope="module")
def shared_database_url(shared_sqlite_url: str) -> str:
    """One kind: what is asked here is nats-server."""
    return shared_sqlite_url


@pytest.fixture
def service(shared_service: LiveService) -> LiveService:
    """One for all: each test has people of its own."""
    return shared_service


async def test_streams_are_as_the_design_says(service: LiveService, alice: Person) -> None:
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await alice.done("PUT", "/v1/me/apps/ping.pong", json={"offline": True})
    await alice.done("PUT", "/v1/me/apps/live", json={"offline": False})
    await alice.done("PUT", "/v1/me/mailbox", json={"responses": True, "max_age": 3600})
    requests, responses = stream_names(alice.token)
    u = alice.token
    stored = await config(service, f"STREAM.INFO.{requests}")
    assert stored is not None
    assert set(stored["subjects"]) == {
        f"requests.*.{u}.chat.stored",
        f"requests.*.{u}.ping%2Epong.stored",
    }
    assert stored["retention"] == "workqueue"
    assert (stored["discard"], stored["discard_new_per_subject"]) == ("new", True)
    assert (stored["max_msgs_per_subject"], stored["max_age"]) == (1000, 3600 * NS)
    assert stored["max_bytes"] == 16 * 1024 * 1024
    kept = await config(service, f"STREAM.INFO.{responses}")
    assert kept is not None
    assert kept["subjects"] == [f"responses.{u}.*.*.*.stored"]
    assert (kept["retention"], kept["max_msgs_per_subject"]) == ("limits", 1)
    assert (kept["max_age"], kept["max_bytes"]) == (3600 * NS, 16 * 1024 * 1024)
    assert kept["max_msgs"] > 0
    for one in (stored, kept):
        for off in (
            "allow_rollup_hdrs",
            "allow_direct",
            "allow_msg_schedules",
            "allow_msg_counter",
            "allow_atomic",
            "allow_msg_ttl",
        ):
            assert not one.get(off), off
        assert (one["num_replicas"], one["storage"]) == (1, "file")
    consumer = await config(service, f"CONSUMER.INFO.{requests}.ping%2Epong")
    assert consumer is not None
    assert consumer["durable_name"] == "ping%2Epong"
    assert consumer["filter_subject"] == f"requests.*.{u}.ping%2Epong.stored"
    assert all(0 < wait < 30 * NS for wait in consumer["backoff"])
    assert consumer["max_deliver"] > len(consumer["backoff"])
    for bound in ("max_batch", "max_bytes", "max_expires", "max_waiting", "max_ack_pending"):
        assert consumer[bound] > 0, bound
    assert await config(service, f"CONSUMER.INFO.{requests}.live") is None


async def test_a_pair_has_its_own_limit(service: LiveService, alice: Person, bob: Person) -> None:
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await alice.done("PUT", "/v1/me/mailbox", json={"max_pending": 2})
    answers = [await bob.submit(alice) for _ in range(3)]
    assert [answer.get("error", {}).get("err_code") for answer in answers] == [None, None, 10077]
    # Another requester's place is not touched, and a request sent twice is kept once.
    async with person(service, "carol@example.com") as carol:
        first = await carol.submit(alice)
        again = await carol.submit(alice, request_id=first["id"])
        assert (again["seq"], again["duplicate"]) == (first["seq"], True)
    # A wider limit holds at once, and keeps what waits.
    await alice.done("PUT", "/v1/me/mailbox", json={"max_pending": 3})
    assert "error" not in await bob.submit(alice)
    for _ in range(4):
        message = await alice.pull()
        assert message.subject.endswith(f".{alice.token}.chat.stored")
        await alice.client.request(message.reply, b"+ACK", timeout=10)
    assert (await alice.pull()).headers["Status"] == "404"  # type: ignore[index]


async def test_messages_age_out(service: LiveService, alice: Person, bob: Person) -> None:
    """By the limits of the stream, narrowed here to less than the routes allow."""
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    await bob.submit(alice)
    requests, _ = stream_names(alice.token)
    found = await config(service, f"STREAM.INFO.{requests}")
    assert found is not None
    short = {**found, "max_age": NS, "duplicate_window": NS}
    await streams_of(service).ask(f"STREAM.UPDATE.{requests}", short)

    async def empty() -> bool:
        info = await streams_of(service).ask(f"STREAM.INFO.{requests}")
        return bool(info["state"]["messages"] == 0)

    await until(empty, 20)
    # What somebody changed by hand is put right by a look at everything.
    service.running.mail.reconciler.nudge()

    async def mended() -> bool:
        now = await config(service, f"STREAM.INFO.{requests}")
        return now is not None and now["max_age"] == found["max_age"]

    await until(mended, 20)


async def test_a_look_at_everything_knows_who_has_what_the_rows_say(
    service: LiveService, alice: Person, bob: Person
) -> None:
    for each in (alice, bob):
        await each.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        await each.done("PUT", "/v1/me/mailbox", json={"responses": True})
    both = {alice.token, bob.token}
    async with service.running.database.reading() as session:
        wanted = {it.token: it for it in await all_desired(session) if it.token in both}
    streams = streams_of(service)
    mailboxes = Mailboxes(streams, streams, Bounds())
    assert await mailboxes.agreeing(wanted) == both
    requests, responses = stream_names(bob.token)

    async def changed(call: str, *, info: str, **values: Any) -> None:
        before = await config(service, info)
        assert before is not None
        whole = {"stream_name": requests} if call.startswith("CONSUMER") else {}
        body = {**before, **values}
        await streams.ask(call, {**whole, "config": body} if whole else body)
        assert await mailboxes.agreeing(wanted) == {alice.token}, call
        await mailboxes.apply(wanted[bob.token])
        assert await mailboxes.agreeing(wanted) == both, call

    chat = f"{requests}.chat"
    of_chat = f"CONSUMER.CREATE.{chat}.requests.*.{bob.token}.chat.stored"
    await changed(f"STREAM.UPDATE.{requests}", info=f"STREAM.INFO.{requests}", max_age=600 * NS)
    await changed(f"STREAM.UPDATE.{responses}", info=f"STREAM.INFO.{responses}", metadata={})
    await changed(of_chat, info=f"CONSUMER.INFO.{chat}", max_ack_pending=1)
    for gone in (f"CONSUMER.DELETE.{chat}", f"STREAM.DELETE.{responses}"):
        await streams.ask(gone)
        assert await mailboxes.agreeing(wanted) == {alice.token}, gone
        await mailboxes.apply(wanted[bob.token])
    another = {"durable_name": "more", "filter_subject": "nothing", "ack_policy": "explicit"}
    create = {"stream_name": requests, "config": another}
    await streams.ask(f"CONSUMER.CREATE.{requests}.more", create)
    assert await mailboxes.agreeing(wanted) == {alice.token}


async def test_apps_come_and_go_and_lose_nothing_of_others(
    service: LiveService, alice: Person, bob: Person
) -> None:
    for app in ("one", "two"):
        await alice.done("PUT", f"/v1/me/apps/{app}", json={"offline": True})
        await bob.submit(alice, app)
    await alice.done("PUT", "/v1/me/apps/one", json={"offline": False})
    for gone in ("one", "three"):
        try:
            found = await bob.submit(alice, gone)
        except NoRespondersError:
            found = {}
        assert "seq" not in found
    # Nothing that waited for it comes back with it.
    await alice.done("PUT", "/v1/me/apps/one", json={"offline": True})
    assert (await alice.pull("one")).headers["Status"] == "404"  # type: ignore[index]
    assert (await alice.pull("two")).subject == f"requests.{bob.token}.{alice.token}.two.stored"
    await alice.done("DELETE", "/v1/me/apps/one")
    await alice.done("DELETE", "/v1/me/apps/two")
    assert await names(service, alice) == set()


async def test_responses_are_read_later(service: LiveService, alice: Person, bob: Person) -> None:
    await bob.done("PUT", "/v1/me/mailbox", json={"responses": True})
    subject = subjects.Response(bob.name, alice.name, "chat", "ab" * 16, stored=True).text
    assert await bob.read(subject) is None
    for body in (b"1", b"2"):
        content = encode_response(ResponseFrame("ab" * 16, 200, (), body))
        receipt = await alice.client.request(subject, content, timeout=10)
        assert orjson.loads(receipt.data)["stream"] == f"responses_{bob.token}"
    assert await bob.read(subject) == content


async def test_a_live_call_touches_no_stream(
    service: LiveService, alice: Person, bob: Person
) -> None:
    for who in (alice, bob):
        await who.done("PUT", "/v1/me/apps/chat", json={"offline": True})
        await who.done("PUT", "/v1/me/mailbox", json={"responses": True})
    heard = asyncio.Event()

    async def hear(_message: object) -> None:
        heard.set()

    await alice.client.subscribe(f"requests.*.{alice.token}.chat", cb=hear)
    await alice.client.flush()
    await alice.client.flush()
    await bob.client.publish(f"requests.{bob.token}.{alice.token}.chat", b"live")
    await asyncio.wait_for(heard.wait(), 10)
    await alice.client.publish(f"responses.{bob.token}.{alice.token}.chat.{'0' * 32}", b"live")
    await alice.client.flush()
    for name in await names(service, alice, bob):
        state = (await streams_of(service).ask(f"STREAM.INFO.{name}"))["state"]
        assert state["last_seq"] == 0, name
