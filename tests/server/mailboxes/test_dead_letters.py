"""What nobody could handle: kept for its owner, answered, put back."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from sqlalchemy import select
from sqlmodel import col

from authsvc.rpc._wire.frames import decode_request, decode_response
from authsvc.server.mailroom import open_mail
from authsvc.server.models import AuditEvent, DeadLetter
from authsvc.server.store import open_store
from tests.fixtures.authsvc import LiveService
from tests.fixtures.waiting import until
from tests.server.mailboxes.dying import DELIVERIES, PATH, kill, letters, ready, stored_subject
from tests.server.mailboxes.post import Person


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind: what is asked here is nats-server; ``test_letter_rows`` asks the databases."""
    return sqlite_url


async def test_a_dead_letter_is_kept_answered_and_put_back(
    service: LiveService, alice: Person, bob: Person
) -> None:
    await ready(alice, bob)
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await bob.client.subscribe(f"responses.{bob.token}.>", cb=heard.put)
    await bob.client.flush()
    content = bytes(range(256)) * 4
    before = int(time.time())
    sent = await bob.submit(alice, content=content)
    await kill(alice)
    (item,) = await letters(alice)
    assert item == {
        **item,
        "app": "chat",
        "requester": bob.name,
        "request_id": sent["id"],
        "method": "POST",
        "target": "/ping",
        "deliveries": DELIVERIES,
    }
    assert int(str(item["size"])) > len(content)
    assert before <= _at(item["submitted_at"]) <= _at(item["died_at"]) <= time.time() + 1
    assert abs(_at(item["deadline"]) - before - 900) <= 3
    # The requester hears of it at once, and finds it later too.
    subject = stored_subject(bob, alice, sent["id"])
    message = await asyncio.wait_for(heard.get(), 20)
    assert (message.subject, decode_response(message.data).status) == (subject, 500)
    answer = await bob.read(subject)
    assert answer == message.data
    assert decode_response(message.data).id == sent["id"]
    # It is out of the stream, and the pair's place is free.
    stream = f"requests_{alice.token}"
    jetstream = service.running.mail.reconciler._mailboxes._jetstream

    async def out() -> bool:
        info = await jetstream.ask(f"STREAM.INFO.{stream}")
        return bool(info["state"]["messages"] == 0)

    await until(out, 20)
    # Put back it is handed out as new, byte for byte.
    back = await alice.done("POST", f"{PATH}/{item['id']}/requeue")
    assert back == {**item, "requeued": True}
    message = await alice.pull()
    assert message.subject == f"requests.{bob.token}.{alice.token}.chat.stored"
    assert message.reply.split(".")[4] == "1"
    assert decode_request(message.data).content == content
    await alice.client.request(message.reply, b"+ACK", timeout=10)
    assert (await alice.done("GET", PATH))["items"] == []
    assert (await alice.call("POST", f"{PATH}/{item['id']}/requeue")).status_code == 404
    async with service.running.database.reading() as session:
        event = await session.scalar(
            select(AuditEvent).where(col(AuditEvent.action) == "dead_letter.requeue")
        )
    assert event is not None
    assert (event.target_id, event.details["requester"]) == (item["id"], bob.name)


def _at(text: object) -> float:
    from datetime import datetime  # noqa: PLC0415

    return datetime.fromisoformat(str(text)).timestamp()


async def test_what_can_not_be_put_back_stays(
    service: LiveService, alice: Person, bob: Person
) -> None:
    await ready(alice, bob)
    await alice.done("PUT", "/v1/me/mailbox", json={"max_pending": 1})
    await bob.submit(alice, expires_ms=900_000)
    await kill(alice)
    (item,) = await letters(alice)
    path = f"{PATH}/{item['id']}/requeue"
    # The pair's place is taken.
    await until_submitted(alice, bob)
    answer = await alice.call("POST", path)
    assert (answer.status_code, "full" in answer.json()["detail"]) == (409, True)
    # The app takes no stored requests.
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": False})
    answer = await alice.call("POST", path)
    assert (answer.status_code, "offline" in answer.json()["detail"]) == (409, True)
    await alice.done("PUT", "/v1/me/apps/chat", json={"offline": True})
    # The requester waits no more.
    async with service.running.database.writing() as session:
        row = await session.get_one(DeadLetter, item["id"])
        row.deadline, kept = int(time.time()) - 1, row.deadline
    answer = await alice.call("POST", path)
    assert (answer.status_code, "expired" in answer.json()["detail"]) == (409, True)
    async with service.running.database.writing() as session:
        (await session.get_one(DeadLetter, item["id"])).deadline = kept
    await alice.done("POST", path)


async def until_submitted(alice: Person, bob: Person) -> None:
    async def taken() -> bool:
        return "seq" in await bob.submit(alice) and True

    await until(taken, 20)


async def test_what_is_none_of_ours_is_kept_and_not_answered(
    service: LiveService, alice: Person, bob: Person
) -> None:
    await ready(alice, bob)
    await bob.submit(alice, data=b"\x00 not a request")
    await kill(alice)
    (item,) = await letters(alice)
    assert (item["request_id"], item["method"], item["deadline"]) == (None, None, None)
    await alice.done("POST", f"{PATH}/{item['id']}/requeue")
    assert (await alice.pull()).data == b"\x00 not a request"


async def test_news_waits_for_the_service_and_goes_to_one_replica(
    service: LiveService, alice: Person, bob: Person
) -> None:
    """Nothing listens when the requests die; then two replicas do."""
    await ready(alice, bob)
    mail = service.running.mail
    await until(lambda: mail.reconciler._looked_whole > 0, 20)
    await mail.letters.stop()
    sent = [(await bob.submit(alice))["id"] for _ in range(6)]
    await kill(alice, len(sent))
    assert (await alice.done("GET", PATH))["items"] == []
    async with (
        open_store(service.settings) as store,
        open_mail(store, service.settings, [service.nats_url]),
    ):
        mail.letters.start()
        items = await letters(alice, len(sent))
        assert {item["request_id"] for item in items} == set(sent)
        for request_id in sent:
            subject = stored_subject(bob, alice, request_id)
            await until(lambda subject=subject: _read(bob, subject), 20)  # type: ignore[misc]
        first = await alice.done("GET", f"{PATH}?limit=4")
        rest = await alice.done("GET", f"{PATH}?limit=4&cursor={first['next_cursor']}")
        assert first["items"] + rest["items"] == items


async def test_a_requester_who_could_not_be_answered_is_as_soon_as_that_works(
    service: LiveService, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before nats-server would tell it again by itself."""
    await ready(alice, bob)
    herald = service.running.mail.letters._herald
    away: list[int] = []

    def client() -> Client | None:
        if not away:
            away.append(1)
            return None
        return found()

    found = herald._client
    monkeypatch.setattr(herald, "_client", client)
    request_id = (await bob.submit(alice))["id"]
    await kill(alice)
    await until(lambda: _read(bob, stored_subject(bob, alice, request_id)), 15)
    assert away
    assert [item["request_id"] for item in await letters(alice)] == [request_id]


async def _read(bob: Person, subject: str) -> bool:
    return await bob.read(subject) is not None


async def test_a_letter_may_be_as_large_as_a_message(
    service: LiveService, alice: Person, bob: Person
) -> None:
    await ready(alice, bob)
    content = secrets.token_bytes(service.settings.max_payload - 1024)
    await bob.submit(alice, content=content)
    await kill(alice)
    (item,) = await letters(alice)
    await alice.done("POST", f"{PATH}/{item['id']}/requeue")
    assert decode_request((await alice.pull()).data).content == content
    text = (await service.http.get("/metrics")).text
    for name in ("dead_letters", "dead_letters_requeued", "mailboxes_pending"):
        assert f"authsvc_{name}" in text
