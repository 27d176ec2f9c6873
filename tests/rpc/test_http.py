"""HTTP over NATS: what httpx clients may rely on, with real applications behind."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.responses import StreamingResponse

from authsvc.rpc import AsyncClient
from authsvc.rpc.http import AsgiService
from tests.rpc.conftest import People


async def client_of(people: People, app: Any, **options: Any) -> httpx.AsyncClient:
    bob = await people.client("bob")
    await people.serve(AsgiService(app, "web", **options), bob)
    alice = await people.client("alice")
    transport = alice.peer(bob.username, "web").transport()
    return httpx.AsyncClient(transport=transport, base_url="http://bob", timeout=5)


async def test_it(people: People) -> None:
    app = FastAPI()

    @app.get("/")
    async def root(request: Request) -> dict[str, Any]:
        return {"headers": request.headers.items()}

    @app.post("/up")
    async def up(request: Request) -> dict[str, Any]:
        size, digest = 0, hashlib.sha256()
        async for piece in request.stream():
            size += len(piece)
            digest.update(piece)
        return {"size": size, "sha": digest.hexdigest()}

    @app.get("/down")
    async def down() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for n in range(100):
                yield bytes([n]) * 300_000

        return StreamingResponse(pieces())

    async with await client_of(people, app) as http:
        print((await http.get("/")).json())
        big = bytes(range(256)) * 100_000
        r = await http.post("/up", content=big)
        assert r.json() == {"size": len(big), "sha": hashlib.sha256(big).hexdigest()}

        async def gen():
            for n in range(0, len(big), 100_000):
                yield big[n : n + 100_000]

        r = await http.post("/up", content=gen())
        assert r.json() == {"size": len(big), "sha": hashlib.sha256(big).hexdigest()}
        r = await http.get("/down")
        assert r.content == b"".join(bytes([n]) * 300_000 for n in range(100))


async def test_sync(people: People) -> None:
    from authsvc.rpc import Client, Service
    from authsvc.claims import format_creds
    import httpx

    app = FastAPI()

    @app.post("/up")
    async def up(request: Request) -> dict[str, Any]:
        size, digest = 0, hashlib.sha256()
        async for piece in request.stream():
            size += len(piece)
            digest.update(piece)
        return {"size": size, "sha": digest.hexdigest()}

    @app.get("/down")
    async def down() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for n in range(100):
                yield bytes([n]) * 300_000

        return StreamingResponse(pieces())

    bob = await people.client("bob")
    await people.serve(AsgiService(app, "web"), bob)
    svc = Service("items")

    @svc.on_request("/n", methods="GET")
    async def n():
        for i in range(1000):
            yield {"i": i, "pad": "x" * 1000}

    @svc.on_request("/echo")
    async def echo(body: AsyncIterator[bytes]):
        async for piece in body:
            yield piece

    await people.serve(svc, bob)
    creds = people.kit.user_creds(people.name("alice"))
    big = bytes(range(256)) * 100_000

    def work() -> None:
        with Client(creds=format_creds(creds.jwt, creds.key), servers=[people.kit.url]) as client:
            peer = client.peer(bob.username, "web")
            with httpx.Client(transport=peer.transport(), base_url="http://bob") as http:

                def gen():
                    for n in range(0, len(big), 100_000):
                        yield big[n : n + 100_000]

                r = http.post("/up", content=gen())
                assert r.json() == {"size": len(big), "sha": hashlib.sha256(big).hexdigest()}
                r = http.get("/down")
                assert r.content == b"".join(bytes([n]) * 300_000 for n in range(100))
                assert http.get("/nope").status_code == 404
            items = client.peer(bob.username, "items")
            with items.stream("/n", method="GET") as response:
                assert [it["i"] for it in response.items()] == list(range(1000))
            with items.stream("/echo", content=[b"x" * 400000, b"yz"]) as response:
                got = response.read()
                print("LEN", len(got), len(big), got == big[: len(got)])
                assert got == b"x" * 400000 + b"yz"
            assert len(items.call("/n", method="GET").content) > 1_000_000

    await asyncio.to_thread(work)
