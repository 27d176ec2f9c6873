"""Stored requests when nats-server or the responder is killed in the middle."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from authsvc.claims import format_creds
from authsvc.rpc import Future, Request, RpcError, Service
from tests.fixtures.waiting import until
from tests.rpc.conftest import People
from tests.rpc.mailboxes import Post

# Takes what is there, says so, and never answers.
HANGING = """
import asyncio, sys
from authsvc.rpc import AsyncClient, Request, Service

service = Service("count", offline=True)

@service.on_request("/n")
async def hang(request: Request) -> None:
    print(request.text, flush=True)
    await asyncio.sleep(600)

async def main():
    async with AsyncClient(creds=sys.argv[1], servers=[sys.argv[2]]) as client:
        await service.serve(client)

asyncio.run(main())
"""


def counting(handled: Counter[str], seconds: float) -> Service:
    service = Service("count", offline=True)

    @service.on_request("/n")
    async def answer(request: Request) -> str:
        handled[request.text] += 1
        await asyncio.sleep(seconds)
        return f"answer {request.text}"

    return service


async def test_a_killed_server_loses_nothing(own: People) -> None:
    post = await Post.open(own)
    bob, alice = own.name("bob"), own.name("alice")
    await post.requests(bob, "count", wait=2)
    await post.responses(alice)
    handled = Counter[str]()
    service = counting(handled, 0.01)
    await own.serve(service, await own.client("bob"))
    client = await own.client("alice")
    peer = client.peer(bob, "count")
    futures: dict[str, Future] = {}
    failed: list[RpcError] = []

    async def submit(number: int) -> None:
        try:
            futures[str(number)] = await peer.submit("/n", content=str(number), timeout=30)
        except RpcError as error:  # any other kind fails the test
            failed.append(error)

    async def stream() -> None:
        tasks = set()
        for number in range(300):
            tasks.add(asyncio.create_task(submit(number)))
            await asyncio.sleep(0.003)
        await asyncio.gather(*tasks)

    streaming = asyncio.create_task(stream())
    for count in (40, 120):
        await until(lambda: len(futures) >= count, 30)  # noqa: B023
        await asyncio.to_thread(own.kit.server.restart, kill=True)
    await streaming
    assert len(futures) + len(failed) == 300
    assert len(futures) >= 120
    responses = {number: await one.result(60) for number, one in futures.items()}
    assert {n: one.text for n, one in responses.items()} == {n: f"answer {n}" for n in futures}
    assert set(futures) <= set(handled)
    await client.close()
    # Every answer can be read later, by a process that heard none of them.
    later = await own.client("alice")
    for number, one in futures.items():
        assert (await later.future(one.id).result(20)).text == f"answer {number}"
    assert client.stats.malformed == service.stats.malformed == 0


async def test_one_who_waits_over_a_restart_is_told(own: People) -> None:
    post = await Post.open(own)
    bob, alice = own.name("bob"), own.name("alice")
    await post.requests(bob, "count")
    await post.responses(alice)
    client = await own.client("alice")
    future = await client.peer(bob, "count").submit("/n", content="1")
    waiting = asyncio.create_task(future.result(60))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(own.kit.server.stop, kill=True)
    await until(lambda: client.session.connection is None)
    late = asyncio.create_task(client.peer(bob, "count").submit("/n", content="2", timeout=40))
    await asyncio.to_thread(own.kit.server.start)
    await own.serve(counting(Counter(), 0), await own.client("bob"))
    assert (await waiting).text == "answer 1"
    assert (await (await late).result(30)).text == "answer 2"


async def test_a_killed_responder_is_followed_by_another(people: People, tmp_path: Path) -> None:
    post = await Post.open(people)
    bob, alice = people.name("bob"), people.name("alice")
    await post.requests(bob, "count")
    await post.responses(alice)
    creds = people.kit.user_creds(bob)
    (tmp_path / "bob.creds").write_text(format_creds(creds.jwt, creds.key))
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGING, str(tmp_path / "bob.creds"), people.kit.url,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    client = await people.client("alice")
    try:
        futures = [
            await client.peer(bob, "count").submit("/n", content=str(number)) for number in range(5)
        ]
        assert first.stdout is not None
        for _ in futures:
            assert await asyncio.wait_for(first.stdout.readline(), 20)
    finally:
        died = time.monotonic()
        first.kill()
        await first.communicate()
    handled = Counter[str]()
    service = counting(handled, 0)
    await people.serve(service, await people.client("bob"))
    for number, one in enumerate(futures):
        assert (await one.result(30)).text == f"answer {number}"
    assert time.monotonic() - died < 30  # the contract's bound
    assert handled == Counter("01234")
    assert service.stats.redelivered == 5


async def test_a_renewed_connection_takes_each_request_once(people: People) -> None:
    post = await Post.open(people)
    bob, alice = people.name("bob"), people.name("alice")
    await post.requests(bob, "count", wait=30)
    await post.responses(alice)
    handled = Counter[str]()
    answering, source = await people.sourced("bob", renew_in=1.0)
    client, _ = await people.sourced("alice", renew_in=1.0)
    service = counting(handled, 0.02)
    await people.serve(service, answering)
    peer = client.peer(bob, "count")
    number = 0
    futures = []
    while min(client.stats.renewals, answering.stats.renewals) < 3:
        futures.append(await peer.submit("/n", content=str(number)))
        number += 1
        await asyncio.sleep(0.005)
    source.renew_in = None
    for place, one in enumerate(futures):
        assert (await one.result(30)).text == f"answer {place}"
    assert set(handled.values()) == {1}
    assert len(handled) == number


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_stopping_without_a_server_ends(own: People, *, kill: bool) -> None:
    post = await Post.open(own)
    bob = own.name("bob")
    await post.requests(bob, "count")
    service = counting(Counter(), 0)
    task = await own.serve(service, await own.client("bob"))
    await asyncio.to_thread(own.kit.server.stop, kill=kill)
    async with asyncio.timeout(20):
        await service.stop()
        await task
