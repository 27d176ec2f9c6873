"""A call, from one person's client to another's app."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from authsvc import subjects
from authsvc.claims import Permission, Permissions, format_creds
from authsvc.errors import InvalidInput, InvalidName
from authsvc.rpc import (
    AsyncClient,
    DeadlineExceeded,
    Disconnected,
    NoResponder,
    NotAuthenticated,
    PayloadTooLarge,
    PermissionDenied,
    Request,
    Service,
)
from authsvc.rpc._wire.frames import RequestFrame, ResponseFrame, encode_request, encode_response
from tests.rpc.conftest import Eventually, People
from tests.rpc.faces import Face

ANYTHING = Permissions(publish=Permission(allow=(">",)), subscribe=Permission(allow=(">",)))


def echo(name: str = "echo") -> Service:
    service = Service(name)

    @service.on_request("/echo")
    async def answer(request: Request) -> dict[str, object]:
        return {"from": request.requester, "body": request.text, "app": request.app}

    return service


async def test_a_call_reaches_the_app_and_names_its_caller(people: People, face: Face) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    await people.serve(echo("e.c*ho"), bob)
    response = await alice.peer(bob.username, "E.C*ho").call("/echo", content="hello", timeout=5)
    assert response.status == 200
    assert response.is_success
    assert response.json() == {"from": people.name("alice"), "body": "hello", "app": "e.c*ho"}
    assert response.headers["content-type"] == "application/json"
    own = await bob.peer(bob.username, "e.c*ho").call("/echo")
    assert own.json()["from"] == bob.username


async def test_a_syft_url_names_user_app_and_endpoint(people: People, face: Face) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    await people.serve(echo(), bob)
    url = f"syft://{bob.username}/app_data/echo"
    assert (await alice.call(f"{url}/rpc/echo", content="x")).json()["body"] == "x"
    assert (await alice.peer(url).call("/echo", json=[1])).json()["body"] == "[1]"
    for wrong in ("syft://bob", "syft://b@x/other/app", f"{url}#x"):
        with pytest.raises(InvalidInput):
            await alice.call(wrong)
    with pytest.raises(InvalidInput):
        alice.peer(bob.username)
    with pytest.raises(InvalidInput):
        alice.peer(url, "other")
    with pytest.raises(InvalidName):
        alice.peer("a\nb", "echo")


async def test_nobody_there_is_known_at_once(people: People, face: Face) -> None:
    alice = await people.caller("alice", face)
    start = time.monotonic()
    with pytest.raises(NoResponder):
        await alice.peer(people.name("nobody"), "echo").call("/echo", timeout=10)
    assert time.monotonic() - start < 1
    assert alice.stats.no_responder == 1


async def test_a_thousand_calls_at_once_get_each_their_own_answer(
    people: People, face: Face
) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    await people.serve(echo(), bob)
    peer = alice.peer(bob.username, "echo")
    answers = await asyncio.gather(*[peer.call("/echo", content=str(n)) for n in range(1000)])
    assert [answer.json()["body"] for answer in answers] == [str(n) for n in range(1000)]
    assert alice.stats.calls == alice.stats.responses == 1000
    assert alice.stats.unknown == alice.stats.malformed == 0


async def test_large_bodies_travel_and_larger_ones_are_refused_before(
    people: People, face: Face
) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    service = Service("length")

    @service.on_request("/length")
    async def length(body: bytes) -> bytes:
        return body

    await people.serve(service, bob)
    peer = alice.peer(bob.username, "length")
    body = bytes(range(256)) * 4096 * 7
    bodies = await asyncio.gather(*[peer.call("/length", content=body) for _ in range(4)])
    assert all(answer.content == body for answer in bodies)
    with pytest.raises(PayloadTooLarge):
        await peer.call("/length", content=b"x" * 8 * 1024 * 1024)
    assert (await peer.call("/length", content=b"x")).content == b"x"


async def test_a_refused_publish_raises_on_the_call_that_made_it(
    people: People, face: Face
) -> None:
    u = subjects.token(people.name("alice"))
    bob = await people.client("bob")
    await people.serve(echo(), bob)
    b = subjects.token(bob.username)
    allowed = Permissions(
        publish=Permission(allow=(f"requests.{u}.{b}.echo",)),
        subscribe=Permission(allow=(f"responses.{u}.>", f"_INBOX.{u}.>")),
    )
    alice = await people.caller("alice", face, allowed=allowed)
    good, bad = alice.peer(bob.username, "echo"), alice.peer(bob.username, "X+%")
    start = time.monotonic()
    results = await asyncio.gather(
        good.call("/echo"), bad.call("/echo"), good.call("/echo"), return_exceptions=True
    )
    assert time.monotonic() - start < 2
    assert [type(result).__name__ for result in results] == [
        "Response",
        "PermissionDenied",
        "Response",
    ]


async def test_a_user_who_may_not_listen_is_told(people: People, face: Face) -> None:
    u = subjects.token(people.name("alice"))
    allowed = Permissions(
        publish=Permission(allow=(f"requests.{u}.>",)),
        subscribe=Permission(allow=(f"_INBOX.{u}.>",)),
    )
    with pytest.raises(PermissionDenied):
        await people.caller("alice", face, allowed=allowed)


async def test_what_is_not_ours_is_dropped_and_counted(
    people: People, face: Face, eventually: Eventually
) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    service = Service("hold")
    held: list[Request] = []
    release = asyncio.Event()

    @service.on_request("/hold")
    async def hold(request: Request) -> str:
        held.append(request)
        await release.wait()
        return "true"

    await people.serve(service, bob)
    peer = alice.peer(bob.username, "hold")
    call = asyncio.create_task(peer.call("/hold", timeout=10))
    await eventually(lambda: held)
    a, b = subjects.token(alice.username), subjects.token(bob.username)
    answer = f"responses.{a}.{b}.hold.{held[0].id}"
    inbox = f"_INBOX.{a}.{b}.hold.{held[0].id}"
    # Whoever could publish anywhere: what nats-server can be made to send, and worse.
    evil = await people.kit.connect(people.kit.user_creds("evil@x.com", allowed=ANYTHING))
    true = encode_response(ResponseFrame(held[0].id, 200, (), b"forged"))
    other = encode_response(ResponseFrame("0" * 32, 200, (), b"forged"))
    bodies = [b"", b"+WPI", b'{"stream":"s","seq":1}', b'{"error":{"code":404}}', other]
    for body in bodies:
        await evil.publish(answer, body)
    await evil.publish(answer, b"", headers={"Status": "503"})
    await evil.publish(inbox, b"503")
    await evil.publish(inbox, b"", headers={"Status": "503"})
    for subject in (f"responses.{a}.{b}.hold", f"{answer}.stored", answer[:-1], f"{answer}0"):
        await evil.publish(subject, true)
    await evil.publish(f"_INBOX.{a}.{b}.other.{held[0].id}", true)
    # And a real reflection: the server's own answer, sent to a waiting caller.
    mallory = await people.kit.connect("mallory@x.com")
    await mallory.publish("$SYS.REQ.USER.INFO", b"", reply=answer)
    await eventually(lambda: alice.stats.malformed == len(bodies) + 4)
    await eventually(lambda: alice.stats.unknown == 5)
    assert not call.done()
    release.set()
    assert (await call).text == "true"


async def test_a_responder_drops_what_is_not_ours_and_answers_no_reply_subject(
    people: People, eventually: Eventually
) -> None:
    alice, bob = await people.client("alice"), await people.client("bob")
    service = echo()
    await people.serve(service, bob)
    a, b = subjects.token(alice.username), subjects.token(bob.username)
    evil = await people.kit.connect(people.kit.user_creds("e@x.com", allowed=ANYTHING))
    replies = await evil.subscribe("reply.here")
    answers = await evil.subscribe(f"responses.*.{b}.>")
    now = int(time.time() * 1000)
    frame = RequestFrame("1" * 32, now, now + 1000, "POST", "/echo", (), b"x")
    bodies = [b"", b"+ACK", b'{"type":"io.nats"}', true_response(), encode_request(frame)[:-4]]
    for body in bodies:
        await evil.publish(f"requests.{a}.{b}.echo", body, reply="reply.here")
    await evil.publish(f"requests.%2A%.{b}.echo", encode_request(frame), reply="reply.here")
    late = frame._replace(sent=now - 20_000, deadline=now - 10_000)
    await evil.publish(f"requests.{a}.{b}.echo", encode_request(late), reply="reply.here")
    answer = await answers.next_msg(5)
    assert b" 419\r\n" in answer.data
    await evil.publish(f"requests.{a}.{b}.echo", encode_request(frame), reply="reply.here")
    answer = await answers.next_msg(5)
    assert answer.subject == f"responses.{a}.{b}.echo.{'1' * 32}"
    assert service.stats.malformed == len(bodies) + 1
    assert service.stats.expired == 1
    assert replies.pending_msgs == 0


def true_response() -> bytes:
    return encode_response(ResponseFrame("1" * 32, 200, (), b""))


async def test_deadlines_are_kept_and_late_answers_dropped(
    people: People, face: Face, eventually: Eventually
) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    service = Service("slow")

    @service.on_request("/slow", cancellable=False)
    async def slow() -> None:
        await asyncio.sleep(0.3)

    await people.serve(service, bob)
    peer = alice.peer(bob.username, "slow")

    async def timed(timeout: float) -> float:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await peer.call("/slow", timeout=timeout)
        return time.monotonic() - start

    took = await asyncio.gather(timed(0.2), timed(0.05), timed(0.1))
    for wanted, found in zip((0.2, 0.05, 0.1), took, strict=True):
        assert wanted <= found < wanted + 0.1
    await eventually(lambda: alice.stats.unknown == 3)
    assert alice.stats.timeouts == 3


async def test_a_cancelled_call_is_forgotten(people: People, eventually: Eventually) -> None:
    alice, bob = await people.client("alice"), await people.client("bob")
    service = Service("slow")

    @service.on_request("/slow", cancellable=False)
    async def slow() -> None:
        await asyncio.sleep(0.3)

    await people.serve(service, bob)
    peer = alice.peer(bob.username, "slow")
    cancelled = asyncio.create_task(peer.call("/slow"))
    await asyncio.sleep(0.05)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await eventually(lambda: alice.stats.unknown == 1)


@pytest.mark.parametrize("timeout", [None, 0, -1, float("nan"), float("inf")])
async def test_timeouts_that_are_none_are_refused(people: People, face: Face, timeout: Any) -> None:
    alice = await people.caller("alice", face)
    with pytest.raises(ValueError, match="timeout"):
        await alice.peer("bob@x.com", "app").call("/", timeout=timeout)


async def test_calls_that_cannot_be_made_say_so(people: People, face: Face) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    await people.serve(echo(), bob)
    peer = alice.peer(bob.username, "echo")
    with pytest.raises(ValueError, match="not both"):
        await peer.call("/echo", json=1, content=b"")
    with pytest.raises(InvalidInput):
        await peer.call("/echo", headers={"a b": "c"})
    with pytest.raises(InvalidInput):
        await peer.call("/echo", method="PO ST")
    for headers in ({"a": 1}, {b"a": "b"}, {"a": None}, ["ab", "c"], 5):
        with pytest.raises(InvalidInput, match="pairs of str"):
            await peer.call("/echo", headers=headers)  # type: ignore[arg-type]
    content: Any
    for content in (3, [1], {}):
        with pytest.raises(TypeError, match="content="):
            await peer.call("/echo", content=content)
    content = bytearray(b"x")
    assert (await peer.call("/echo", content=content)).json()["body"] == "x"
    assert (await peer.call("/grüße und mehr#x")).status == 404
    await alice.close()
    for call in (peer.call("/echo"), alice.call(f"syft://{bob.username}/app_data/echo")):
        with pytest.raises(Disconnected, match="was closed"):
            await call
    with pytest.raises(Disconnected, match="was closed"):
        await alice.connect()


async def test_closing_lets_calls_go(people: People, face: Face) -> None:
    alice, bob = await people.caller("alice", face), await people.client("bob")
    service = Service("never")
    begun = asyncio.Event()

    @service.on_request("/never")
    async def never(request: Request) -> None:
        begun.set()
        await asyncio.sleep(0.3)

    await people.serve(service, bob)
    call = asyncio.create_task(alice.peer(bob.username, "never").call("/never"))
    await begun.wait()
    await alice.close()
    with pytest.raises(Disconnected):
        await call


async def test_arguments_that_do_not_fit_together_are_refused(people: People, face: Face) -> None:
    with pytest.raises(InvalidInput):
        face("http://127.0.0.1:1")
    with pytest.raises(InvalidInput):
        face("http://127.0.0.1:1", token="t", creds="x")
    with pytest.raises(InvalidInput):
        await face(creds="x.creds").connect()
    with pytest.raises(NotAuthenticated):
        await face(creds="/nowhere/x.creds", servers=[people.kit.url]).connect()
    with pytest.raises(Disconnected):
        await face("http://127.0.0.1:1", token="t").connect()
    unconnected = face(creds="x.creds")
    with pytest.raises(Disconnected):
        unconnected.peer("bob@x.com", "app")


async def test_nothing_waits_where_nothing_listens() -> None:
    from tests.fixtures.nats import Realm  # noqa: PLC0415
    from tests.fixtures.ports import free_port  # noqa: PLC0415

    creds = Realm().user_creds("alice@x.com")
    text = format_creds(creds.jwt, creds.key)
    start = time.monotonic()
    with pytest.raises(Disconnected):
        await AsyncClient(creds=text, servers=[f"nats://127.0.0.1:{free_port()}"]).connect()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "server", ["nats://exa mple:x", "nats://127.0.0.1:x", "nats://", "nats://h:0", "nonsense"]
)
async def test_a_server_that_is_no_url_is_told(people: People, server: str) -> None:
    creds = people.kit.user_creds(people.name("alice"))
    text = format_creds(creds.jwt, creds.key)
    with pytest.raises(NotAuthenticated, match="is no NATS URL"):
        await AsyncClient(creds=text, servers=[server]).connect()


async def test_a_credential_of_another_operator_is_refused(people: People) -> None:
    from tests.fixtures.nats import Realm  # noqa: PLC0415

    creds = Realm().user_creds("alice@x.com")
    text = format_creds(creds.jwt, creds.key)
    with pytest.raises(NotAuthenticated):
        await AsyncClient(creds=text, servers=[people.kit.url]).connect()
    url = people.kit.url.replace("nats://", "tls://")
    with pytest.raises(Disconnected, match="offered no tls"):
        await AsyncClient(creds=text, servers=[url]).connect()
