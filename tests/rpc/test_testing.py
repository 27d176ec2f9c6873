"""authsvc.rpc.testing: the in-memory network refuses and delivers what nats-server would."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import httpx
import pytest

from authsvc.errors import (
    DeadlineExceeded,
    InvalidName,
    NoResponder,
    PayloadTooLarge,
    PermissionDenied,
)
from authsvc.rpc import Request, Response, Service
from authsvc.rpc._session.connection import Connection
from authsvc.rpc._session.pings import PingingClient
from authsvc.rpc.http import AsgiService
from authsvc.rpc.testing import REQUESTER, RESPONDER, Network, pair, sync_pair
from authsvc.subjects import token


def pingpong() -> Service:
    service = Service("pingpong")

    @service.on_request("/ping")
    async def ping(request: Request) -> dict[str, object]:
        return {"pong": request.json()["n"], "hello": request.requester}

    @service.on_request("/echo")
    async def echo(request: Request) -> Response:
        return Response(request.content, headers=[("x-a", "1"), ("x-a", "2")])

    @service.on_request("/secret", allow=["carol@example.com"])
    async def secret() -> str:
        return "for carol"

    @service.on_request("/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    @service.on_request("/plain")
    def plain(body: bytes) -> bytes:
        return body[::-1]

    return service


async def test_a_pair_answers() -> None:
    service = pingpong()
    async with pair(service) as client:
        assert client.username == REQUESTER
        bob = client.peer(RESPONDER, "pingpong")
        response = await bob.call("/ping", json={"n": 1})
        assert response.json() == {"pong": 1, "hello": REQUESTER}
        echoed = await bob.call("/echo", content=b"\x00\xff")
        assert (echoed.content, echoed.headers.get_all("X-A")) == (b"\x00\xff", ["1", "2"])
        assert (await bob.call("/plain", content=b"abc")).content == b"cba"
        assert (await bob.call("/secret")).status == 403
        assert (await bob.call("/nothing")).status == 404
        url = f"syft://{RESPONDER}/app_data/pingpong/rpc/ping"
        assert (await client.call(url, json={"n": 2})).json()["pong"] == 2
        rest = asyncio.gather(*[bob.call("/ping", json={"n": n}) for n in range(500)])
        assert [answer.json()["pong"] for answer in await rest] == list(range(500))
        with pytest.raises(DeadlineExceeded):
            await bob.call("/slow", timeout=0.05)
    assert service.stats.responses >= 500


async def test_the_names_are_chosen_and_checked() -> None:
    async with pair(pingpong(), requester="Carol@example.com", responder="d.d@x.org") as client:
        peer = client.peer("d.d@x.org", "pingpong")
        assert (await peer.call("/secret")).text == "for carol"
        with pytest.raises(NoResponder):
            await client.peer(RESPONDER, "pingpong").call("/ping")
    with pytest.raises(InvalidName):
        async with pair(pingpong(), requester=" "):
            raise AssertionError


async def test_a_service_is_served_again_and_once_at_a_time() -> None:
    service = pingpong()
    for _ in range(2):
        async with pair(service) as client:
            assert (await client.peer(RESPONDER, "pingpong").call("/plain")).status == 200
            with pytest.raises(RuntimeError, match="served already"):
                async with pair(service):
                    raise AssertionError


async def test_each_may_do_what_the_contract_allows() -> None:
    async with Network() as network:
        eve = await network.client("eve@example.com")
        bob, alice = token("bob@example.com"), token("alice@example.com")

        def hear(_subject: bytes, _data: bytes, _headers: bytes | None) -> None:
            raise AssertionError

        for subject in (f"responses.{alice}.>", f"requests.*.{bob}.>", ">", f"_INBOX.{alice}.>"):
            with pytest.raises(PermissionDenied):
                await eve.session.listen(subject, hear)
        await network.serve(pingpong(), "bob@example.com")
        forged = eve.peer("bob@example.com", "pingpong")
        forged._subject = forged._subject.replace(token("eve@example.com"), alice)
        with pytest.raises(PermissionDenied, match="nats-server refuses"):
            await forged.call("/ping", json={"n": 1})
        assert eve.stats.denied == 1


async def test_several_people_call_one_another() -> None:
    async with Network(max_payload=2000) as network:
        relay = Service("relay")
        bob = await network.serve(relay, "bob@example.com")
        await network.serve(pingpong(), "carol@example.com")

        @relay.on_request("/via")
        async def via(request: Request) -> Response:
            return await bob.peer("carol@example.com", "pingpong").call(
                "/ping", content=request.content
            )

        alice = await network.client("alice@example.com")
        peer = alice.peer("bob@example.com", "relay")
        assert (await peer.call("/via", json={"n": 3})).json()["hello"] == "bob@example.com"
        with pytest.raises(PayloadTooLarge):
            await peer.call("/via", content=bytes(2000))


async def test_requests_are_shared_between_the_processes_of_an_app() -> None:
    async with Network() as network:
        services = [pingpong(), pingpong()]
        for service in services:
            await network.serve(service, RESPONDER)
        peer = (await network.client(REQUESTER)).peer(RESPONDER, "pingpong")
        for n in range(64):
            assert (await peer.call("/ping", json={"n": n})).status == 200
        counts = [service.stats.requests for service in services]
        assert sum(counts) == 64
        assert min(counts) > 0


def test_a_pair_for_code_that_blocks() -> None:
    service = pingpong()
    for _ in range(2):
        with sync_pair(service, requester="carol@example.com") as client:
            peer = client.peer(RESPONDER, "pingpong")
            assert peer.call("/ping", json={"n": 1}).json()["hello"] == "carol@example.com"
            with pytest.raises(DeadlineExceeded):
                peer.call("/slow", timeout=0.05)
            with pytest.raises(RuntimeError, match="served already"), sync_pair(service):
                raise AssertionError
    with pytest.raises(InvalidName), sync_pair(service, responder=""):
        raise AssertionError


def kept() -> Service:
    service = Service("kept", offline=True)

    @service.on_request("/double")
    async def double(request: Request) -> int:
        number: int = request.json()
        return 2 * number

    return service


async def test_requests_wait_for_who_is_away() -> None:
    async with Network() as network:
        alice = await network.client(REQUESTER)
        peer = alice.peer(RESPONDER, "kept")
        with pytest.raises(NoResponder):
            await peer.submit("/double", json=1)  # nobody knows that the app keeps any
        bob = await network.serve(kept(), RESPONDER)
        future = await peer.submit("/double", json=2)
        assert (await future.result(5)).json() == 4
        assert (await peer.call("/double", json=3)).json() == 6
        await bob.close()
        with pytest.raises(NoResponder):
            await peer.call("/double", json=4)
        waiting = [await peer.submit("/double", json=n) for n in range(200)]
        assert not await waiting[0].done()
        await alice.close()
        await network.serve(kept(), RESPONDER)
        again = await network.client(REQUESTER)
        for n, found in enumerate(waiting):
            assert (await again.future(found.id).result(5)).json() == 2 * n


async def test_what_was_in_hand_is_handed_out_again() -> None:
    started, first = asyncio.Event(), Service("kept", offline=True)

    @first.on_request("/double")
    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async with Network() as network:
        alice = await network.client(REQUESTER)
        bob = await network.serve(first, RESPONDER)
        future = await alice.peer(RESPONDER, "kept").submit("/double", json=5)
        await started.wait()
        await bob.close()
        second = kept()
        await network.serve(second, RESPONDER)
        assert (await future.result(5)).json() == 10
        assert second.stats.redelivered == 1


def test_code_that_blocks_submits_too() -> None:
    with sync_pair(kept()) as client:
        future = client.peer(RESPONDER, "kept").submit("/double", json=8)
        assert client.future(future.id).result(5).json() == 16


async def test_its_connections_have_what_connections_have() -> None:
    names = {
        name
        for kind in (Connection, PingingClient)
        for name in vars(kind)
        if not name.startswith("_")
    }
    async with Network() as network:
        link = (await network.client(REQUESTER)).session.connection
        assert link is not None
        assert [name for name in names - {"open"} if not hasattr(link, name)] == []


def test_importing_it_brings_neither_pytest_nor_the_service() -> None:
    code = (
        "import sys, authsvc.rpc.testing; "
        "bad = {'pytest', 'fastapi', 'sqlmodel', 'pydantic', 'uvicorn', 'typer', 'authsvc.server'};"
        "found = bad & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_an_asgi_app_is_called_by_httpx() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        caller = dict(scope["headers"])[b"x-syft-user"]
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": caller + b" %d" % size})

    async with pair(AsgiService(app, "web")) as client:
        transport = client.peer(RESPONDER, "web").transport()
        async with httpx.AsyncClient(transport=transport, base_url="http://bob") as http:
            large = bytes(10_000_000)
            assert (await http.post("/", content=large)).text == f"{REQUESTER} {len(large)}"
