"""Health, information and statistics: by reserved paths, and by the NATS service API if granted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from nats.aio.msg import Msg

from authsvc import subjects
from authsvc.claims import Permission, Permissions
from authsvc.rpc import Request, Service
from authsvc.rpc._responder.reserved import PREFIX, reserved
from authsvc.server.policy import permissions
from tests.rpc.conftest import People
from tests.rpc.test_service import pair

STATS, INFO, PING = (f"io.nats.micro.v1.{kind}_response" for kind in ("stats", "info", "ping"))


def app(**options: Any) -> Service:
    service = Service("measured", version="1.2.3", description="An app", **options)

    @service.on_request("/ok", methods=["GET", "POST"])
    async def ok(request: Request) -> str:
        await asyncio.sleep(0.002)
        return request.method

    @service.on_request("/fails")
    async def fails() -> None:
        raise ValueError("secret")

    return service


async def test_health_information_and_statistics(people: People) -> None:
    service = app()
    peer = await pair(people, service)
    for method in ("GET", "POST", "POST"):
        assert (await peer.call("/ok", method=method)).text == method
    assert (await peer.call("/fails")).status == 500
    bob = people.name("bob")
    identity = {"name": "measured", "id": service.id, "version": "1.2.3", "metadata": {}}
    health = (await peer.call(f"{PREFIX}health", method="GET")).json()
    assert health.items() >= (identity | {"type": PING, "status": "ok"}).items()
    assert (health["in_flight"], health["counted"]["requests"]) == (1, 5)
    info = (await peer.call(f"{PREFIX}info", method="GET")).json()
    assert info.items() >= (identity | {"type": INFO, "description": "An app"}).items()
    where = {"subject": f"requests.*.{subjects.token(bob)}.measured", "queue_group": "measured"}
    assert info["endpoints"] == [
        {"name": "ok", "metadata": {"path": "/ok", "methods": "GET,POST"}} | where,
        {"name": "fails", "metadata": {"path": "/fails", "methods": "POST"}} | where,
    ]
    found = await peer.call(f"{PREFIX}stats", method="GET")
    assert "secret" not in found.text
    stats = found.json()
    assert stats.items() >= (identity | {"type": STATS, "started": service.started}).items()
    good, bad = stats["endpoints"]
    assert (good["num_requests"], good["num_errors"], good["last_error"]) == (3, 0, "")
    assert good["average_processing_time"] >= 2_000_000
    assert good["processing_time"] == 3 * good["average_processing_time"]
    assert (bad["num_requests"], bad["num_errors"]) == (1, 1)
    assert bad["last_error"] == "500:the responder failed"


async def test_one_of_sixteen_is_timed(people: People) -> None:
    service = app()
    peer = await pair(people, service)
    for _ in range(33):
        await peer.call("/ok")
    stats = service.endpoints[0]
    assert (stats.num_requests, stats.samples) == (33, 3)
    assert stats.average == stats.sampled_time // 3


async def test_they_obey_allow_and_the_method(people: People) -> None:
    closed = Service("closed", allow=["carol@example.com"])
    peer = await pair(people, closed)
    assert (await peer.call(f"{PREFIX}stats", method="GET")).status == 403
    peer = await pair(people, app())
    answer = await peer.call(f"{PREFIX}stats")
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert (await peer.call(f"{PREFIX}none", method="GET")).status == 404


def test_reserved_paths_are_nobodys() -> None:
    with pytest.raises(ValueError, match="library itself"):
        Service("taken").on_request(f"{PREFIX}own")(test_reserved_paths_are_nobodys)
    with pytest.raises(ValueError, match="taken"):
        reserved("stats")(lambda _service, _request: None)  # type: ignore[type-var]


async def asked(raw: Any, subject: str, count: int = 1) -> list[dict[str, Any]]:
    """Ask as ``nats micro`` does: a request whose answers come to one inbox."""
    answers: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def take(message: Msg) -> None:
        if message.data:
            answers.append(json.loads(message.data))
        if len(answers) == count or not message.data:
            done.set()

    inbox = raw.new_inbox()
    await raw.subscribe(inbox, cb=take)
    await raw.publish(subject, b"", reply=inbox)
    await asyncio.wait_for(done.wait(), 10)
    return answers


def granted(people: People, who: str, *, inboxes: bool) -> Permissions:
    own = permissions(subjects.token(people.name(who)))
    publish = (*own.publish.allow, *(["_INBOX.>"] if inboxes else []))
    return Permissions(
        publish=Permission(allow=publish),
        subscribe=Permission(allow=(*own.subscribe.allow, "$SRV.>")),
    )


async def test_the_nats_service_api_answers_where_granted(people: People) -> None:
    allowed = granted(people, "bob", inboxes=True)
    bob, again = [await people.client("bob", allowed=allowed) for _ in range(2)]
    one, other = app(), app()
    await people.serve(one, bob)
    await people.serve(other, again)
    watcher = Permissions(
        publish=Permission(allow=("$SRV.>",)), subscribe=Permission(allow=("_INBOX.>",))
    )
    raw = await people.kit.connect(people.kit.user_creds("admin", allowed=watcher))
    for verb, kind in (("PING", PING), ("INFO", INFO), ("STATS", STATS)):
        found = await asked(raw, f"$SRV.{verb}.measured", 2)
        assert {answer["id"] for answer in found} == {one.id, other.id}
        assert {answer["type"] for answer in found} == {kind}
        (only,) = await asked(raw, f"$SRV.{verb}.measured.{one.id}")
        assert only["id"] == one.id
    assert len(await asked(raw, "$SRV.PING", 2)) == 2
    await one.stop()
    assert await asked(raw, f"$SRV.PING.measured.{one.id}") == []


async def test_a_question_cannot_make_a_service_publish_elsewhere(people: People) -> None:
    bob = await people.client("bob", allowed=granted(people, "bob", inboxes=False))
    service = app()
    await people.serve(service, bob)
    me = subjects.token(bob.username)
    spy = Permissions(
        publish=Permission(allow=("$SRV.>", "requests.>")), subscribe=Permission(allow=(">",))
    )
    raw = await people.kit.connect(people.kit.user_creds("spy", allowed=spy))
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    await raw.subscribe(f"requests.{me}.>", cb=hear)
    await raw.subscribe(f"responses.*.{me}.>", cb=hear)
    await raw.subscribe("_INBOX.x", cb=hear)
    for reply in (f"requests.{me}.carol.app", f"responses.carol.{me}.app.x", "_INBOX.x"):
        await raw.publish("$SRV.STATS", b"", reply=reply)
    await raw.flush()
    alice = await people.client("alice")
    assert (await alice.peer(bob.username, "measured").call("/ok")).text == "POST"
    await raw.flush()
    assert [name for name in heard if not name.startswith("responses.alice")] == []


async def test_nothing_is_asked_of_the_server_without_a_grant(people: People) -> None:
    service = app()
    await pair(people, service)
    watcher = Permissions(
        publish=Permission(allow=("$SRV.>",)), subscribe=Permission(allow=("_INBOX.>",))
    )
    raw = await people.kit.connect(people.kit.user_creds("admin", allowed=watcher))
    assert await asked(raw, f"$SRV.PING.measured.{service.id}") == []
