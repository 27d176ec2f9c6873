"""Stored requests: either side may be away, and each process may end in between."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from authsvc.errors import InvalidInput
from authsvc.rpc import (
    AsyncClient,
    Backlogged,
    DeadlineExceeded,
    Disconnected,
    Expired,
    NoResponder,
    PayloadTooLarge,
    PermissionDenied,
    RemoteError,
    Request,
    Response,
    RpcError,
    Service,
)
from authsvc.rpc._responder import offline as _offline
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.rpc.mailboxes import Post


def counting(name: str = "count", **options: Any) -> tuple[Service, list[str]]:
    """A service and the bodies that it handled."""
    service, handled = Service(name, offline=True, **options), list[str]()

    @service.on_request("/n")
    async def answer(request: Request) -> dict[str, object]:
        handled.append(request.text)
        return {"n": request.text, "from": request.requester}

    return service, handled


@pytest.fixture
async def post(people: People) -> Post:
    return await Post.open(people)


async def pair(post: Post, people: People, **options: Any) -> tuple[AsyncClient, AsyncClient]:
    """Alice, with a mailbox, and bob, whose app ``count`` keeps requests."""
    await post.requests(people.name("bob"), "count", **options)
    await post.responses(people.name("alice"))
    return await people.client("alice"), await people.client("bob")


@pytest.mark.parametrize("responder_away", [False, True], ids=["responder here", "responder away"])
@pytest.mark.parametrize("requester_away", [False, True], ids=["requester here", "requester away"])
async def test_whoever_is_away(
    post: Post, people: People, *, requester_away: bool, responder_away: bool
) -> None:
    client, answering = await pair(post, people)
    bob = answering.username
    service, handled = counting()
    if not responder_away:
        await people.serve(service, answering)
    future = await client.peer(bob, "count").submit("/n", content="1", expires="1h")
    if requester_away:
        await client.close()
        with pytest.raises(Disconnected):
            client.future(future.id)
    if responder_away:
        assert handled == []
        await people.serve(service, answering)
    await post.emptied(bob)
    if requester_away:
        future = (await people.client("alice")).future(future.id)
    response = await future.result(timeout=10)
    assert response.json() == {"n": "1", "from": people.name("alice")}
    assert await future.done()
    assert handled == ["1"]
    assert (service.stats.stored, service.stats.responses) == (1, 1)
    assert service.stats.malformed == client.stats.malformed == 0


async def test_a_future_waits_in_another_process_too(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    future = await client.peer(answering.username, "count").submit("/n", content="1")
    assert not await future.done()
    with pytest.raises(DeadlineExceeded):
        await future.result(timeout=0.05)
    elsewhere = (await people.client("alice")).future(future.id)
    assert not await elsewhere.done()
    waiting = [asyncio.create_task(one.result(20)) for one in (future, elsewhere, future)]
    await asyncio.sleep(0.1)
    service, handled = counting()
    await people.serve(service, answering)
    assert [(await task).json()["n"] for task in waiting] == ["1"] * 3
    assert handled == ["1"]
    assert await client.future(future.id).done()


async def test_a_syft_url_is_submitted_to(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    service, _ = counting()
    await people.serve(service, answering)
    url = f"syft://{answering.username}/app_data/count/rpc/n"
    future = await client.submit(url, json={"a": 1}, expires=60)
    assert (await future.result(10)).json()["n"] == '{"a":1}'


@pytest.mark.parametrize(
    "text", ["", "x", "a.b.c", "bob.count.0123456789abcdef0123456789abcdef.0", "b*b.c.d.1", None]
)
async def test_what_is_no_id_is_refused(people: People, text: Any) -> None:
    client = await people.client("alice")
    with pytest.raises(InvalidInput):
        client.future(text)


async def test_an_expired_request_is_not_handled(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    peer = client.peer(answering.username, "count")
    future = await peer.submit("/n", content="1", expires=0.3)
    with pytest.raises(Expired):
        await future.result()
    assert await future.done()
    service, handled = counting()
    await people.serve(service, answering)
    await post.emptied(answering.username)
    assert (handled, service.stats.expired) == ([], 1)
    # The answer says so too, to whoever looks later.
    with pytest.raises(Expired):
        await client.future(future.id).result()
    again = (await people.client("alice")).future(future.id)
    with pytest.raises(Expired):
        await again.result()
    for wrong in ("15", "m", "-1m", 0, -1, True, None, "400d", float("nan")):
        with pytest.raises(InvalidInput):
            await peer.submit("/n", expires=wrong)  # type: ignore[arg-type]


async def test_no_more_than_may_wait(post: Post, people: People) -> None:
    client, answering = await pair(post, people, pending=3)
    peer = client.peer(answering.username, "count")
    futures = [await peer.submit("/n", content=str(number)) for number in range(3)]
    with pytest.raises(Backlogged, match="no room for another request"):
        await peer.submit("/n")
    # Only this pair's place is full.
    await post.responses(people.name("carol"))
    carol = await people.client("carol")
    futures.append(await carol.peer(answering.username, "count").submit("/n", content="3"))
    service, handled = counting()
    await people.serve(service, answering)
    for number, future in enumerate(futures):
        assert (await future.result(10)).json()["n"] == str(number)
    await post.emptied(answering.username)
    assert await peer.submit("/n")
    assert sorted(handled[:4]) == ["0", "1", "2", "3"]


async def test_an_app_that_keeps_nothing_is_known_at_once(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    for name, app in ((answering.username, "other"), (people.name("nobody"), "count")):
        start = time.monotonic()
        with pytest.raises(NoResponder, match="keeps no requests"):
            await client.peer(name, app).submit("/n", timeout=20)
        assert time.monotonic() - start < 15
    assert len(client.mailbox) == 0


async def test_without_a_mailbox_nothing_is_submitted(post: Post, people: People) -> None:
    await post.requests(people.name("bob"), "count")
    client = await people.client("dora")
    with pytest.raises(RpcError, match="no mailbox"):
        await client.peer(people.name("bob"), "count").submit("/n")
    assert await post.waiting(people.name("bob")) == 0


async def test_a_refused_publish_raises_on_its_call(post: Post, people: People) -> None:
    await pair(post, people)
    narrow = await people.client("alice", app="other")
    peer = narrow.peer(people.name("bob"), "count")
    with pytest.raises(PermissionDenied):
        await peer.submit("/n", timeout=20)


async def test_a_narrowed_credential_hears_but_does_not_read(post: Post, people: People) -> None:
    _, answering = await pair(post, people)
    narrow = await people.client("alice", app="count")
    service, _ = counting()
    await people.serve(service, answering)
    future = await narrow.peer(answering.username, "count").submit("/n", content="1")
    assert (await future.result(20)).json()["n"] == "1"
    with pytest.raises(PermissionDenied):
        await (await people.client("alice", app="count")).future(future.id).result(5)


async def test_statuses_travel(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    service = Service("count", offline=True, allow=lambda name: name != people.name("carol"))

    @service.on_request("/fails")
    async def fails() -> None:
        raise ValueError("a secret")

    @service.on_request("/large")
    def large() -> bytes:
        return b"x" * (9 << 20)

    @service.on_request("/status")
    def status(request: Request) -> Response:
        return Response(b"", status=int(request.text))

    await people.serve(service, answering)
    peer = client.peer(answering.username, "count")
    wanted = {"/fails": 500, "/large": 507, "/missing": 404}
    for path, number in wanted.items():
        response = await (await peer.submit(path)).result(10)
        assert response.status == number
        assert "secret" not in response.text
        with pytest.raises(RemoteError):
            response.raise_for_status()
    assert (await (await peer.submit("/status", content="204")).result(10)).status == 204
    await post.responses(people.name("carol"))
    carol = await people.client("carol")
    refused = await carol.peer(answering.username, "count").submit("/fails")
    assert (await refused.result(10)).status == 403
    with pytest.raises(PayloadTooLarge):
        await peer.submit("/status", content=b"x" * (9 << 20))


async def test_large_bodies_are_kept(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    service = Service("count", offline=True)

    @service.on_request("/echo")
    async def echo(request: Request) -> bytes:
        return request.content

    body = b"0123456789abcdef" * (1 << 17)
    peer = client.peer(answering.username, "count")
    futures = [await peer.submit("/echo", content=body) for _ in range(7)]
    await people.serve(service, answering)
    assert [(await one.result(20)).content == body for one in futures] == [True] * 7
    again = (await people.client("alice")).future(futures[0].id)
    assert (await again.result(20)).content == body


async def test_the_same_request_is_kept_once(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    future = await client.peer(answering.username, "count").submit("/n", content="1")
    # Whoever saw no receipt sends it again, with its id.
    session, receipts = client.session, client.mailbox.receipts
    sent: list[Any] = []
    connection = session.connection
    assert connection is not None
    original = connection.send_once
    connection.send_once = lambda *parts: (sent.append(parts), original(*parts))[1]  # type: ignore[method-assign,func-returns-value]
    second = asyncio.create_task(client.peer(answering.username, "count").submit("/n", content="2"))
    await asyncio.sleep(0)
    await until(lambda: bool(sent))
    receipts._changed()
    await second
    assert len(sent) == 2
    assert sent[0][2] == sent[1][2]
    assert await post.waiting(answering.username) == 2
    service, handled = counting()
    await people.serve(service, answering)
    assert (await future.result(10)).json()["n"] == "1"
    assert (await (second.result()).result(10)).json()["n"] == "2"
    assert sorted(handled) == ["1", "2"]


async def test_what_cannot_be_handled_now_is_handed_out_again(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    service, tries = Service("count", offline=True), list[float]()

    @service.on_request("/later")
    async def later() -> Response:
        tries.append(time.monotonic())
        if len(tries) < 2:
            return Response(b"", status=503, headers={"retry-after": "1"})
        return Response(b"now")

    await people.serve(service, answering)
    future = await client.peer(answering.username, "count").submit("/later")
    assert (await future.result(20)).content == b"now"
    assert len(tries) == 2
    assert tries[1] - tries[0] > 0.9
    assert (service.stats.returned, service.stats.redelivered) == (1, 1)


async def test_a_long_handler_keeps_its_request(
    post: Post, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_offline, "_PROGRESS_SECONDS", 0.2)
    client, answering = await pair(post, people, wait=1)
    service, handled = Service("count", offline=True), list[str]()

    @service.on_request("/long")
    async def long(request: Request) -> str:
        handled.append(request.id)
        await asyncio.sleep(2.5)
        return "done"

    await people.serve(service, answering)
    future = await client.peer(answering.username, "count").submit("/long")
    assert (await future.result(20)).text == "done"
    assert len(handled) == 1
    assert service.stats.redelivered == 0


async def test_the_order_of_each_requester(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    await post.responses(people.name("carol"))
    carol = await people.client("carol")
    service = Service("count", offline=True, ordered=True)
    handled: list[tuple[str, int]] = []
    running: dict[str, int] = {}
    together = set[int]()

    @service.on_request("/n")
    async def answer(request: Request) -> dict[str, int]:
        running[request.requester] = running.get(request.requester, 0) + 1
        together.add(sum(running.values()))
        assert running[request.requester] == 1
        number = request.json()
        await asyncio.sleep(0.02 if number % 3 == 0 else 0)
        handled.append((request.requester, number))
        running[request.requester] -= 1
        return {"n": number}

    futures = []
    for number in range(20):
        for who in (client, carol):
            peer = who.peer(answering.username, "count")
            futures.append(await peer.submit("/n", json=number))
    await people.serve(service, answering)
    responses = [await one.result(10) for one in futures]
    assert {response.status for response in responses} == {200}
    for who in (client, carol):
        assert [number for name, number in handled if name == who.username] == list(range(20))
    assert 2 in together  # requesters do not wait for each other


async def test_live_and_stored_requests_share_the_limit(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    service = Service("count", offline=True, concurrency=3)
    running, most = 0, 0

    @service.on_request("/n")
    async def answer() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return "ok"

    await people.serve(service, answering)
    peer = client.peer(answering.username, "count")
    futures = [await peer.submit("/n") for _ in range(10)]
    live = await asyncio.gather(*[peer.call("/n", timeout=20) for _ in range(10)])
    stored = [await one.result(20) for one in futures]
    assert {response.text for response in [*live, *stored]} == {"ok"}
    assert most == 3


async def test_who_stops_hands_back_what_was_not_begun(post: Post, people: People) -> None:
    client, answering = await pair(post, people, wait=60)
    service = Service("count", offline=True, concurrency=2)
    begun, go = list[str](), asyncio.Event()

    @service.on_request("/n")
    async def answer(request: Request) -> str:
        begun.append(request.text)
        await go.wait()
        return "first"

    task = await people.serve(service, answering)
    peer = client.peer(answering.username, "count")
    futures = [await peer.submit("/n", content=str(number)) for number in range(5)]
    await until(lambda: len(begun) == 2)
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0.1)
    go.set()
    await stopping
    await task
    second, handled = counting()
    await people.serve(second, await people.client("bob"))
    texts = [(await one.result(15)).text for one in futures]
    assert texts.count("first") == 2
    assert len(handled) == 3
    assert set(begun) | set(handled) == set("01234")


async def test_a_future_can_be_given_up(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    future = await client.peer(answering.username, "count").submit("/n", content="1")
    waiting = asyncio.create_task(future.result(20))
    await asyncio.sleep(0.05)
    assert await future.cancel()
    with pytest.raises(RpcError, match="cancelled"):
        await waiting
    assert await future.done()
    service, handled = counting()
    await people.serve(service, answering)
    other = await client.peer(answering.username, "count").submit("/n", content="2")
    assert (await other.result(10)).json()["n"] == "2"
    assert not await other.cancel()
    assert handled == ["1", "2"]


async def test_a_closed_client_waits_for_nothing(post: Post, people: People) -> None:
    client, answering = await pair(post, people)
    future = await client.peer(answering.username, "count").submit("/n")
    waiting = asyncio.create_task(future.result(20))
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises(Disconnected):
        await waiting
    with pytest.raises(Disconnected):
        await future.result(5)


async def test_ten_thousand_futures(post: Post, people: People) -> None:
    client, answering = await pair(post, people, pending=20_000)
    peer = client.peer(answering.username, "count")
    futures = []
    for _ in range(40):
        futures += await asyncio.gather(*[peer.submit("/n", content="1") for _ in range(250)])
    assert len(client.mailbox) == len({one.id for one in futures}) == 10_000
    waiting = [asyncio.create_task(one.result(60)) for one in futures]
    service, handled = counting()
    await people.serve(service, answering)
    for task in waiting:
        assert (await task).status == 200
    assert len(handled) == 10_000
    del waiting, futures, task
    assert len(client.mailbox) == 0
