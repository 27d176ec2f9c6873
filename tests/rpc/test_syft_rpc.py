"""send and broadcast, and what their futures say, as syft-rpc's users know it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from authsvc.claims import format_creds
from authsvc.errors import InvalidInput, RpcError
from authsvc.rpc import Client, NoResponder, RemoteError, Request
from authsvc.rpc._loops.threads import in_thread
from authsvc.rpc.syft import (
    Response,
    SyftBulkFuture,
    SyftError,
    SyftEvents,
    SyftFuture,
    SyftStatus,
    SyftTimeoutError,
    SyftUrl,
    broadcast,
    make_url,
    send,
)
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.rpc.mailboxes import Post


class Ping(BaseModel):
    msg: str


@dataclass
class Plain:
    msg: str


class Method(str, Enum):  # noqa: UP042  as syft-rpc has it
    GET = "GET"


class Asking:
    """Alice, who blocks a thread of her own for each question."""

    def __init__(self, client: Client, bob: str) -> None:
        self.client = client
        self.url = partial(make_url, bob, "box")

    async def send(self, *args: Any, **kwargs: Any) -> SyftFuture:
        return await in_thread(lambda: send(*args, client=self.client, **kwargs))

    async def wait(self, future: SyftFuture, timeout: float | None = 10) -> Any:
        return await in_thread(lambda: future.wait(timeout))

    async def ask(self, *args: Any, **kwargs: Any) -> Any:
        return await self.wait(await self.send(*args, **kwargs))


@pytest.fixture
async def alice(people: People) -> AsyncIterator[Asking]:
    post = await Post.open(people)
    await post.requests(people.name("bob"), "box")
    await post.responses(people.name("alice"))
    creds = people.kit.user_creds(people.name("alice"))
    client = Client(creds=format_creds(creds.jwt, creds.key), servers=[people.kit.url])
    await in_thread(client.connect)
    yield Asking(client, people.name("bob"))
    await in_thread(client.close)


def box() -> SyftEvents:
    found = SyftEvents("box")

    @found.on_request("/echo")
    async def echo(request: Request) -> Response:
        kind = request.headers.get("content-type", "none")
        more = request.headers.get("x-more", "")
        return Response([request.method, kind, more, request.body.decode()])

    @found.on_request("/status")
    async def status(code: str) -> Response:
        return Response({"msg": code}, int(code), {"x-code": code})

    return found


async def test_bodies_of_every_kind_are_sent(people: People, alice: Asking) -> None:
    await people.serve(box(), await people.client("bob"))
    url = alice.url("echo")
    json, text = "application/json", "text/plain; charset=utf-8"
    for body, kind, sent in [
        (None, "none", ""),
        (b"bytes", "none", "bytes"),
        ("text", text, "text"),
        ({"a": 1}, json, '{"a":1}'),
        ([1], json, "[1]"),
        ((1, 2), json, "[1,2]"),
        (1.5, json, "1.5"),
        (Ping(msg="m"), json, '{"msg":"m"}'),
        (Plain("m"), json, '{"msg":"m"}'),
    ]:
        response = await alice.ask(url, body=body, headers={"X-More": "more"})
        assert response.json() == ["POST", kind, "more", sent]
    response = await alice.ask(url, body=Ping(msg="m"), headers={"Content-Type": "a/b"})
    assert response.json()[1] == "a/b"
    for method in ("GET", "put", Method.GET):
        response = await alice.ask(SyftUrl.parse(url), method)
        assert response.json()[0] == getattr(method, "value", method).upper()


async def test_an_answer_has_the_parts_that_one_knows(people: People, alice: Asking) -> None:
    await people.serve(box(), await people.client("bob"))
    future = await alice.send(alice.url("/status"), body="201")
    response = await alice.wait(future)
    assert response is await alice.wait(future)
    assert (response.status_code, response.is_success) == (201, True)
    assert (response.text(), response.json()) == ('{"msg":"201"}', {"msg": "201"})
    assert (response.body, response.headers["X-Code"]) == (b'{"msg":"201"}', "201")
    assert response.model(Ping) == Ping(msg="201")
    assert (response.sender, str(response.url)) == (people.name("bob"), alice.url("status"))
    assert response.id in future.id
    response.raise_for_status()
    assert not future.is_rejected
    assert not future.is_expired
    response = await alice.ask(alice.url("status"), body="404")
    assert not response.is_success
    assert response.status_code == SyftStatus.SYFT_404_NOT_FOUND
    with pytest.raises(SyftError) as caught:
        response.raise_for_status()
    assert isinstance(caught.value, RemoteError)
    refused = await alice.send(alice.url("status"), body="403")
    assert not refused.is_rejected  # nobody looked yet
    await alice.wait(refused)
    assert refused.is_rejected


async def test_a_future_waits_for_a_box_that_is_away(people: People, alice: Asking) -> None:
    future = await alice.send(alice.url("echo"), body="later", expiry="1h")
    assert await in_thread(future.resolve) is None
    with pytest.raises(SyftTimeoutError):
        await alice.wait(future, 0.05)
    with pytest.raises(ValueError, match="timeout"):
        await alice.wait(future, 0)
    await people.serve(box(), await people.client("bob"))

    async def resolved() -> bool:
        return await in_thread(future.resolve) is not None

    await until(resolved)
    response = await in_thread(future.resolve)
    assert response is not None
    assert response.json()[3] == "later"
    again = SyftFuture(future.url, alice.client.future(future.id))
    assert (await alice.wait(again)).json() == response.json()
    assert (again.expires, again.id) == (future.expires, future.id)


async def test_what_expires_has_a_status(alice: Asking) -> None:
    future = await alice.send(alice.url("echo"), body="never", expiry="1s")
    response = await alice.wait(future, None)
    assert response.status_code == SyftStatus.SYFT_419_EXPIRED
    assert future.is_expired
    assert (response.sender, response.id) == ("", "")
    assert await in_thread(future.resolve) is response


async def test_what_cannot_be_sent_is_told_at_once(people: People, alice: Asking) -> None:
    with pytest.raises(NoResponder):
        await alice.send(make_url(people.name("carol"), "box", "echo"))
    for wrong in ("15", "1w", "", "-1m"):
        with pytest.raises(InvalidInput):
            await alice.send(alice.url("echo"), expiry=wrong)
    with pytest.raises(InvalidInput):
        await alice.send("http://bob")


async def test_one_question_to_many(people: People, alice: Asking) -> None:
    nobody = make_url(people.name("carol"), "box", "echo")
    urls = [alice.url("echo"), nobody, alice.url("none"), alice.url("status")]
    ask: Callable[[], SyftBulkFuture] = partial(broadcast, urls, "200", client=alice.client)
    bulk = await in_thread(ask)
    assert [future.url.target for future in bulk.pending] == ["/echo", "/none", "/status"]
    assert [response.status_code for response in bulk.responses] == [404]
    assert not bulk.all_failed
    early = await in_thread(lambda: bulk.gather_completed(timeout=0.05))
    assert [response.status_code for response in early] == [404]
    await people.serve(box(), await people.client("bob"))
    found = await in_thread(lambda: bulk.gather_completed(timeout=20))
    assert [response.status_code for response in found] == [200, 404, 404, 200]
    assert [response.url.target for response in bulk.successes] == ["/echo", "/status"]
    assert [response.sender for response in bulk.failures] == ["", people.name("bob")]
    assert bulk.pending == []
    await in_thread(bulk.resolve)
    assert bulk.responses == found
    only = await in_thread(lambda: broadcast([nobody], client=alice.client))
    assert only.all_failed
    assert only.futures[0].id == ""
    assert only.futures[0].is_expired


async def test_a_broadcast_without_a_connection_is_an_error(alice: Asking) -> None:
    await in_thread(alice.client.close)
    with pytest.raises(RpcError):
        await in_thread(lambda: broadcast([alice.url("echo")], client=alice.client))
    with pytest.raises(InvalidInput):
        broadcast([alice.url("echo"), "http://bob"], client=alice.client)


async def test_a_box_answers_on_a_client_of_ones_own(people: People, alice: Asking) -> None:
    creds = people.kit.user_creds(people.name("bob"))
    client = Client(creds=format_creds(creds.jwt, creds.key), servers=[people.kit.url])
    await in_thread(client.connect)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    found = SyftEvents("box", client=client, on_ready=partial(loop.call_soon_threadsafe, ready.set))

    @found.on_request("/who")
    def who(box: SyftEvents) -> str:
        assert box.client is client
        return box.client.username

    running = asyncio.create_task(in_thread(found.run_forever))
    await asyncio.wait_for(ready.wait(), 10)
    assert (await alice.ask(alice.url("who"))).text() == people.name("bob")
    await in_thread(client.close)
    await asyncio.wait_for(running, 10)


def test_a_url_is_made_and_a_timeout_is_one_of_pythons() -> None:
    assert issubclass(SyftTimeoutError, TimeoutError)
    assert (
        make_url("Bob@X.com", "pingpong", "ping") == "syft://bob@x.com/app_data/pingpong/rpc/ping"
    )
