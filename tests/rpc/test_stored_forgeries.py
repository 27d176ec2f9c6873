"""What nats-server can be made to send, at everybody who waits: nothing of it is a message.

The attacker is told every secret, request ids and inboxes, and uses the ways of
``tests.security.attacks``: receipts, errors, pulled messages, heartbeats and statuses of his own
mailbox, with a reply subject that belongs to somebody else.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple

import pytest

from authsvc import subjects
from authsvc.rpc import AsyncClient, Future, Request, Response, Service
from authsvc.rpc._calls.futures import Ticket
from authsvc.rpc._calls.receipts import Question
from authsvc.rpc._wire.frames import RequestFrame, ResponseFrame, encode_request, encode_response
from authsvc.rpc._wire.jetstream import read_message, read_receipt, stream_names
from authsvc.server.policy import JS_PREFIX
from tests.fixtures.nats import HOST
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.rpc.mailboxes import Post
from tests.security import attacks
from tests.security.attacks import MALLORY, M, Stage
from tests.security.raw import RawClient


class Scene(NamedTuple):
    """Alice waits, live and for what is stored; bob is handling; mallory has a mailbox."""

    alice: AsyncClient
    bob: AsyncClient
    service: Service
    handled: list[Request]
    go: asyncio.Event
    live: asyncio.Task[Response]
    future: Future
    asked: dict[str, list[Any]]
    stage: Stage


@pytest.fixture
async def scene(own: People) -> Any:
    post = await Post.open(own)
    await post.requests(own.name("bob"), "count")
    await post.responses(own.name("alice"))
    await post.responses(own.name("bob"), "count")
    await post.mailboxes.make(MALLORY, "chat", "empty")
    mallory = await RawClient.connect(HOST, own.kit.server.port, own.kit.user_creds(MALLORY))
    mallory.subscribe(f"_INBOX.{M}.>")
    stage = Stage(JS_PREFIX, post.mailboxes, mallory, mallory, mallory)
    await mallory.ask(
        f"responses.{M}.{M}.chat.{attacks.ID}.stored", attacks.MARK, f"_INBOX.{M}.ack"
    )
    service, handled, go = Service("count", offline=True), list[Request](), asyncio.Event()

    @service.on_request("/n")
    async def answer(request: Request) -> str:
        handled.append(request)
        await go.wait()
        return f"answer {request.text}"

    alice, bob = await own.client("alice"), await own.client("bob")
    await own.serve(service, bob)
    peer = alice.peer(bob.username, "count")
    live = asyncio.create_task(peer.call("/n", content="live", timeout=60))
    future = await peer.submit("/n", content="stored", expires="1h")
    await until(lambda: len(handled) == 2)
    try:
        yield Scene(alice, bob, service, handled, go, live, future, {}, stage)
    finally:
        go.set()
        await mallory.close()


def ask(scene: Scene, client: AsyncClient, name: str, read: Any) -> str:
    """A question that nobody answers; the inbox that an answer belongs to."""
    told = scene.asked.setdefault(name, [])
    # A live request without the framing: the service drops it and answers nothing.
    nowhere = f"requests.{subjects.token(client.username)}.{subjects.token(scene.bob.username)}"
    question = Question(f"{nowhere}.count", b"?", read=read, told=told.append)
    client.mailbox.receipts.ask(question)
    return question.inbox


async def targets(scene: Scene) -> dict[str, str]:
    """Where something is waited for."""
    a, b = subjects.token(scene.alice.username), subjects.token(scene.bob.username)
    requests, responses = stream_names(b)[0], stream_names(a)[1]
    live = next(one.id for one in scene.handled if one.text == "live")
    stored = Ticket.parse(scene.future.id).request_id
    subject = f"responses.{a}.{b}.count.{stored}.stored"
    await scene.bob.mailbox.receipts.listen()
    puller: Any = scene.service._serving._puller  # type: ignore[union-attr]
    return {
        "live response": f"responses.{a}.{b}.count.{live}",
        "live inbox": f"_INBOX.{a}.{b}.count.{live}",
        "stored response": subject,
        "receipt of a request": ask(
            scene, scene.alice, "receipt of a request", partial(read_receipt, requests)
        ),
        "message that is read": ask(
            scene, scene.alice, "message that is read", partial(read_message, subject)
        ),
        "receipt of a response": ask(
            scene, scene.bob, "receipt of a response", partial(read_receipt, responses)
        ),
        "pull": f"{puller._inbox}.{max(puller._open)}",
        "no pull": f"{puller._inbox}.99",
        "live request": f"requests.{a}.{b}.count",
        "stored request": f"requests.{a}.{b}.count.stored",
    }


def counted(scene: Scene) -> int:
    stats = (scene.alice.stats, scene.bob.stats)
    return scene.service.stats.malformed + sum(one.malformed + one.unknown for one in stats)


# What bob's own mailbox could not tell from a refusal of his own: errors name no stream, and a
# status of a pull is one. Whoever can't guess 128 bits can't send them there.
_REFUSALS = {"receipt of a request", "message that is read", "receipt of a response"}


async def test_reflected_messages_are_nothing(scene: Scene) -> None:
    places = await targets(scene)
    for trigger in attacks.TRIGGERS.values():
        for place, reply in places.items():
            before = counted(scene)
            await trigger(scene.stage, reply)
            await scene.stage.mallory.settle()
            # A status at the inbox of a pull says how that goes, and brings nothing; nobody
            # listens live on what is stored.
            if place not in {"pull", "stored request"}:
                await until(lambda: counted(scene) > before)  # noqa: B023
    assert await scene.stage.mallory.refused() == []
    assert all(told == [] for told in scene.asked.values())
    assert len(scene.handled) == 2
    assert not scene.live.done()
    assert not await scene.future.done()
    assert scene.alice.mailbox.receipts._open
    # And all of them still work.
    scene.go.set()
    assert (await scene.live).text == "answer live"
    assert (await scene.future.result(20)).text == "answer stored"
    peer = scene.alice.peer(scene.bob.username, "count")
    assert (await (await peer.submit("/n", content="x")).result(20)).text == "answer x"
    assert {one.requester for one in scene.handled} == {scene.alice.username}


async def test_guessed_and_replayed_ids_do_nothing(scene: Scene) -> None:
    a, b = subjects.token(scene.alice.username), subjects.token(scene.bob.username)
    mallory, stored = scene.stage.mallory, Ticket.parse(scene.future.id).request_id
    forged = encode_response(ResponseFrame(stored, 200, (), b"forged"))
    # Under the own name, with the right id; live and stored, and where ids are guessed.
    for end in ("", ".stored"):
        for request_id in (stored, attacks.ID):
            mallory.publish(f"responses.{a}.{M}.count.{request_id}{end}", forged)
    # In another's name nats-server refuses it.
    mallory.publish(f"responses.{a}.{b}.count.{stored}.stored", forged)
    assert len(await mallory.refused()) == 1
    await until(lambda: scene.alice.stats.unknown == 4)
    # Bob himself may publish there: an answer that was recorded for one id is none to another.
    connection = scene.bob.session.connection
    assert connection is not None
    other = encode_response(ResponseFrame(attacks.ID, 200, (), b"replayed"))
    place = f"responses.{a}.{b}.count.{stored}"
    for payload in (other, b"", b"+ACK", b'{"stream":"x","seq":1}'):
        connection.send(f"{place}.stored", "", payload)
    connection.send(place, "", forged)
    await until(lambda: scene.alice.stats.malformed == 4)
    await until(lambda: scene.alice.stats.unknown == 5)
    assert not await scene.future.done()
    # A request of alice's that mallory has seen is mallory's, where he sends it.
    frame = RequestFrame(stored, 1, 9_999_999_999_999, "POST", "/n", (), b"seen")
    mallory.publish(f"requests.{M}.{b}.count.stored", encode_request(frame))
    await until(lambda: len(scene.handled) == 3)
    assert scene.handled[2].requester == MALLORY
    scene.go.set()
    assert (await scene.future.result(20)).text == "answer stored"
    # What comes once more changes nothing.
    connection.send(f"{place}.stored", "", forged)
    await until(lambda: scene.alice.stats.responses == 2)
    assert (await scene.future.result(20)).text == "answer stored"


async def test_what_is_no_request_is_dropped_for_good(scene: Scene, own: People) -> None:
    post = await Post.open(own)
    b = subjects.token(scene.bob.username)
    scene.go.set()
    await scene.future.result(20)
    await post.emptied(scene.bob.username)
    before = scene.service.stats.malformed
    puller: Any = scene.service._serving._puller  # type: ignore[union-attr]
    inbox = puller._inbox
    for number, body in enumerate((b"", b"AUTHSVC/1 response x", b"\xff" * 100, b"+ACK")):
        answer = await scene.stage.mallory.ask(
            f"requests.{M}.{b}.count.stored", body, f"_INBOX.{M}.ack"
        )
        assert b'"seq"' in answer.body
        await until(lambda: scene.service.stats.malformed == before + number + 1)  # noqa: B023
        # An empty one ends the answers of its pull, so the app takes another inbox.
        await until(lambda: puller._moving is None)
        assert (puller._inbox != inbox) == (number == 0)
        inbox = puller._inbox
    await post.emptied(scene.bob.username)
    assert len(scene.handled) == 2
