"""HTTP over NATS: what a user of httpx relies on, async and sync, with a FastAPI app behind."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gc
import gzip
import hashlib
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from authsvc.claims import format_creds
from authsvc.rpc import Client, Service
from authsvc.rpc._http.asgi_cycle import Cycle
from authsvc.rpc._streams.exchange import Exchange
from authsvc.rpc._streams.streamed import StreamedRequest
from authsvc.rpc._streams.whole import WholeResponse
from authsvc.rpc.http import AsgiService, AsyncTransport
from tests.rpc.conftest import Eventually, People

BIG = bytes(range(256)) * 40_000  # above what one message may have


def web() -> FastAPI:  # noqa: C901  many routes
    app = FastAPI()

    @app.api_route("/seen", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
    async def seen(request: Request) -> dict[str, Any]:
        return {
            "method": request.method,
            "path": request.scope["path"],
            "raw": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "headers": request.headers.items(),
            "body": (await request.body()).decode("latin-1"),
            "client": request.scope["client"],
            "known": request.scope["extensions"]["authsvc"],
        }

    @app.get("/é/{rest:path}")
    async def path(rest: str, request: Request) -> list[str]:
        return [rest, request.scope["raw_path"].decode()]

    @app.get("/headers")
    async def headers() -> Response:
        response = Response(b"\0\xff", media_type="application/octet-stream")
        response.headers.append("x-many", "1")
        response.headers.append("x-many", "2")
        response.headers["connection"] = "x-hop"
        response.headers["x-hop"] = "1"
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    @app.get("/cookies")
    async def cookies(request: Request) -> dict[str, str]:
        return request.cookies

    @app.get("/away")
    async def away() -> Response:
        return RedirectResponse("/seen?x=1", status_code=307)

    @app.delete("/gone", status_code=204)
    async def gone() -> None: ...

    @app.get("/cached", status_code=304)
    async def cached() -> Response:
        return Response(status_code=304, headers={"etag": '"1"'})

    @app.head("/head")
    async def head() -> Response:
        return Response(b"x" * 77)

    @app.get("/packed")
    async def packed() -> Response:
        return Response(gzip.compress(b"packed"), headers={"content-encoding": "gzip"})

    @app.post("/form")
    async def form(request: Request) -> list[list[str | None]]:
        head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
        parts = email.message_from_bytes(head + await request.body(), policy=email.policy.HTTP)
        bodies = [(part.get_filename(), part.get_content()) for part in parts.iter_parts()]
        return [[name, hashlib.sha256(_bytes(body)).hexdigest()] for name, body in bodies]

    @app.post("/echo")
    async def echo(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream(), media_type="application/octet-stream")

    @app.get("/big")
    async def big() -> Response:
        return Response(BIG)

    @app.get("/slow")
    async def slow(request: Request) -> None:
        while not await request.is_disconnected():  # noqa: ASYNC110  there is no event of it
            await asyncio.sleep(0.02)

    @app.get("/stalls")
    async def stalls() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(60)

        return StreamingResponse(pieces())

    @app.get("/breaks")
    async def breaks() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"first"
            raise RuntimeError("a secret")

        return StreamingResponse(pieces())

    @app.get("/raises")
    async def raises() -> None:
        raise RuntimeError("a secret")

    return app


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


@pytest.fixture
async def http(people: People) -> AsyncIterator[httpx.AsyncClient]:
    bob, alice = await people.client("bob"), await people.client("alice")
    await people.serve(AsgiService(web(), "web"), bob)
    transport = alice.peer(bob.username, "web").transport()
    async with httpx.AsyncClient(
        transport=transport, base_url="http://bob.example", timeout=10
    ) as found:
        yield found


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
async def test_a_request_arrives_as_it_was_sent(http: httpx.AsyncClient, method: str) -> None:
    content = b"" if method == "GET" else b"\0\r\n\r\nbody\xff"
    response = await http.request(
        method,
        "/seen?a=1&a=2&b=%20",
        content=content,
        headers=[(b"X-Many", b"1"), (b"x-many", b"2"), (b"TE", b"x"), (b"X-Latin", b"\xe9")],
    )
    assert response.status_code == 200
    seen = response.json()
    assert (seen["method"], seen["path"], seen["query"]) == (method, "/seen", "a=1&a=2&b=%20")
    assert seen["body"].encode("latin-1") == content
    assert [value for name, value in seen["headers"] if name == "x-many"] == ["1", "2"]
    headers = dict(seen["headers"])
    assert headers["host"] == "bob.example"
    assert headers["x-latin"] == "\xe9"
    assert not {"te", "connection", "transfer-encoding"} & set(headers)


async def test_paths_are_decoded_once(http: httpx.AsyncClient) -> None:
    assert (await http.get("/é/a%2Fb%252F")).json() == ["a/b%2F", "/%C3%A9/a%2Fb%252F"]


async def test_the_app_learns_who_calls_and_nobody_else_can_say_it(
    http: httpx.AsyncClient, people: People
) -> None:
    forged = [
        ("X-Syft-User", "carol@example.com"),
        ("x-syft-user", "dave@example.com"),
        ("X_Syft_User", "erin@example.com"),
        ("x.syft~user", "erin@example.com"),
        ("x-SYFT-request_id", "0"),
    ]
    seen = (await http.get("/seen", headers=forged)).json()
    callers = [(name, value) for name, value in seen["headers"] if "syft" in name]
    alice = people.name("alice")
    assert callers[0] == ("x-syft-user", alice)
    assert callers[1][0] == "x-syft-request-id"
    assert len(callers) == 2
    assert seen["known"] == {"requester": alice, "app": "web", "id": callers[1][1]}
    assert len(callers[1][1]) == 32
    assert "." not in seen["client"][0]  # no address, whatever the name


async def test_answers_come_back_as_they_were_given(http: httpx.AsyncClient) -> None:
    response = await http.get("/headers")
    assert response.content == b"\0\xff"
    assert response.headers.get_list("x-many") == ["1", "2"]
    assert len(response.headers.get_list("set-cookie")) == 2
    assert not {"connection", "x-hop"} & set(response.headers)
    assert (await http.get("/cookies")).json() == {"a": "1", "b": "2"}
    assert response.http_version == "AUTHSVC/1"
    redirect = await http.get("/away")
    assert (redirect.status_code, redirect.has_redirect_location) == (307, True)
    followed = await http.get("/away", follow_redirects=True)
    assert followed.json()["query"] == "x=1"
    assert [it.status_code for it in followed.history] == [307]
    head = await http.head("/head")
    assert (head.content, head.headers["content-length"]) == (b"", "77")
    for method, path, status in (("DELETE", "/gone", 204), ("GET", "/cached", 304)):
        empty = await http.request(method, path)
        assert (empty.status_code, empty.content) == (status, b"")
    assert (await http.get("/nowhere")).status_code == 404
    failed = await http.get("/raises")
    assert failed.status_code == 500
    assert "secret" not in failed.text


@pytest.mark.parametrize("path", ["/headers", "/packed"])
async def test_a_response_is_read_as_any_of_httpx(http: httpx.AsyncClient, path: str) -> None:
    expected = b"packed" if path == "/packed" else b"\0\xff"
    response = await http.get(path)
    assert response.is_closed
    assert response.elapsed.total_seconds() > 0
    assert await response.aread() == response.content == expected
    assert response.num_bytes_downloaded == int(response.headers["content-length"])
    assert b"".join([piece async for piece in response.aiter_bytes(1)]) == expected
    with pytest.raises(httpx.StreamConsumed):
        await anext(response.aiter_raw())
    copied = pickle.loads(pickle.dumps(response))  # noqa: S301  made here
    assert (copied.content, copied.headers) == (expected, response.headers)
    async with http.stream("GET", path) as streamed:
        pieces = [piece async for piece in streamed.aiter_raw(1)]
        assert len(pieces) == streamed.num_bytes_downloaded > 1
        with pytest.raises(httpx.StreamConsumed):
            await streamed.aread()
    async with http.stream("GET", path) as closed:
        await closed.aclose()
        with pytest.raises(httpx.StreamClosed):
            await closed.aread()
        with pytest.raises(RuntimeError):  # it is async
            closed.read()


async def test_requests_leave_nothing_for_the_garbage_collector(http: httpx.AsyncClient) -> None:
    await http.post("/seen", content=b"x")
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            await http.post("/seen", content=b"x")
        kinds = (Exchange, StreamedRequest, Cycle, WholeResponse)
        kept = [it for it in gc.get_objects() if isinstance(it, kinds)]
        assert len(kept) <= len(kinds)
    finally:
        gc.enable()


async def test_bodies_of_all_kinds_and_sizes(http: httpx.AsyncClient) -> None:
    files = {"file": ("a.bin", BIG, "application/octet-stream")}
    form = await http.post("/form", data={"name": "n"}, files=files)
    sha = hashlib.sha256(BIG).hexdigest()
    assert form.json() == [[None, hashlib.sha256(b"n").hexdigest()], ["a.bin", sha]]
    assert (await http.post("/echo", content=BIG)).content == BIG
    assert (await http.get("/big")).content == BIG

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 333_333):
            yield b""  # means nothing
            yield BIG[start : start + 333_333]

    async with http.stream("POST", "/echo", content=pieces()) as response:
        digest = hashlib.sha256()
        async for piece in response.aiter_bytes():
            digest.update(piece)
    assert digest.hexdigest() == sha


async def test_what_goes_wrong_is_an_error_of_httpx(
    http: httpx.AsyncClient, people: People
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await http.get("/slow", timeout=httpx.Timeout(5, read=0.3))
    with pytest.raises(httpx.ReadTimeout):
        await http.get("/stalls", timeout=httpx.Timeout(5, read=0.3))
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/breaks")
    with pytest.raises(httpx.LocalProtocolError):
        await http.get("/seen", headers={"x-bad": "a\nb"})
    with pytest.raises(httpx.UnsupportedProtocol):
        await http.get("ftp://bob/seen")

    async def short() -> AsyncIterator[bytes]:
        yield b"12345"

    with pytest.raises(httpx.LocalProtocolError, match="shorter"):
        await http.post("/echo", content=short(), headers={"content-length": "10"})

    async def stuck() -> AsyncIterator[bytes]:
        yield b"1"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        await http.post("/echo", content=stuck())
    alice = people.clients[1]
    nobody = httpx.AsyncClient(transport=alice.peer("nobody@x.com", "web").transport())
    with pytest.raises(httpx.ConnectError):
        await nobody.get("http://nobody/")
    await alice.close()
    with pytest.raises(httpx.ConnectError, match="closed"):
        await http.get("/seen")


async def test_a_body_that_nobody_takes_times_out(people: People) -> None:
    service = Service("takes")
    go_on = asyncio.Event()

    @service.on_request("/")
    async def takes(body: AsyncIterator[bytes]) -> None:
        await go_on.wait()
        async for _ in body:
            pass

    bob, alice = await people.client("bob"), await people.client("alice")
    await people.serve(service, bob)
    transport = alice.peer(bob.username, "takes").transport()
    async with httpx.AsyncClient(transport=transport, base_url="http://bob") as http:

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 100_000

        with pytest.raises(httpx.WriteTimeout):
            await http.post("/", content=pieces(), timeout=httpx.Timeout(10, write=0.3))
    go_on.set()


async def test_an_answer_that_is_too_large_or_ill_made_is_refused(people: People) -> None:
    service = Service("lies")

    @service.on_request("/", methods="GET")
    async def lies() -> AsyncIterator[Any]:
        from authsvc.rpc import Response as Answer  # noqa: PLC0415

        yield Answer(b"12345", headers={"content-length": "9"})
        yield b"6"

    bob, alice = await people.client("bob"), await people.client("alice")
    await people.serve(service, bob)
    peer = alice.peer(bob.username, "lies")
    async with httpx.AsyncClient(transport=peer.transport(), base_url="http://bob") as http:
        with pytest.raises(httpx.RemoteProtocolError, match="content-length"):
            await http.get("/")
    small = AsyncTransport(alice.live, peer._subject, max_body=3)
    async with httpx.AsyncClient(transport=small, base_url="http://bob") as http:
        with pytest.raises(httpx.ReadError):
            await http.get("/")


async def test_closing_a_response_early_ends_it_there(
    people: People, eventually: Eventually
) -> None:
    ended = asyncio.Event()
    app = FastAPI()

    @app.get("/")
    async def endless() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 10_000
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamingResponse(pieces())

    bob, alice = await people.client("bob"), await people.client("alice")
    await people.serve(AsgiService(app, "web"), bob)
    transport = alice.peer(bob.username, "web").transport()
    async with httpx.AsyncClient(transport=transport, base_url="http://bob") as http:
        async with http.stream("GET", "/") as response:
            async for _ in response.aiter_bytes():
                break
        await asyncio.wait_for(ended.wait(), 10)
    assert not alice.live()[1].streams


def in_pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 333_333):
        yield data[start : start + 333_333]


def blocking(http: httpx.Client) -> None:
    """What code that blocks does with a client."""
    assert http.get("/seen?a=1").json()["query"] == "a=1"
    assert http.post("/echo", content=BIG).content == BIG
    assert len(http.post("/form", data={"name": "n"}, files={"file": BIG}).json()) == 2
    http.get("/headers")
    assert http.get("/cookies").json() == {"a": "1", "b": "2"}
    assert http.get("/away", follow_redirects=True).status_code == 200
    assert http.get("/big").content == BIG
    assert http.head("/head").headers["content-length"] == "77"
    with http.stream("GET", "/big") as response:
        assert sum(map(len, response.iter_bytes())) == len(BIG)
    with http.stream("GET", "/big") as response:
        next(response.iter_raw())
    with pytest.raises(httpx.ReadTimeout):
        http.get("/slow", timeout=0.3)
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/breaks")

    def fails() -> Iterator[bytes]:
        yield b"1"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        http.post("/echo", content=fails())


async def aside(people: People, work: Callable[[Client], None]) -> None:
    """Run in a thread what blocks, with a client of alice's."""
    creds = people.kit.user_creds(people.name("alice"))

    def run() -> None:
        text = format_creds(creds.jwt, creds.key)
        with Client(creds=text, servers=[people.kit.url]) as client:
            work(client)

    await asyncio.to_thread(run)


async def test_code_that_blocks_has_the_same(people: People) -> None:
    bob = await people.client("bob")
    await people.serve(AsgiService(web(), "web"), bob)

    def work(client: Client) -> None:
        transport = client.peer(bob.username, "web").transport()
        with httpx.Client(transport=transport, base_url="http://bob", timeout=10) as http:
            blocking(http)
            digest = http.post("/seen", content=in_pieces(b"abc" * 200_000)).json()
            assert len(digest["body"]) == 600_000
        nobody = client.peer("nobody@x.com", "web").transport()
        with httpx.Client(transport=nobody) as http, pytest.raises(httpx.ConnectError):
            http.get("http://nobody/")
        client.close()
        with httpx.Client(transport=transport) as http, pytest.raises(httpx.ConnectError):
            http.get("http://bob/")

    await aside(people, work)


async def test_code_that_blocks_streams_too(people: People) -> None:
    service = Service("blocks")

    @service.on_request("/lines")
    async def lines() -> AsyncIterator[dict[str, int]]:
        for n in range(100):
            yield {"n": n}

    @service.on_request("/size")
    async def size(body: bytes) -> int:
        return len(body)

    bob = await people.client("bob")
    await people.serve(service, bob)

    def work(client: Client) -> None:
        peer = client.peer(bob.username, "blocks")
        with peer.stream("/lines") as response:
            assert response.headers["content-type"] == "application/x-ndjson"
            assert [item["n"] for item in response.items()] == list(range(100))
        with peer.stream("/lines") as response:
            assert next(response.lines()) == b'{"n":0}'
        with peer.stream("/size", content=in_pieces(BIG)) as response:
            response.raise_for_status()
            assert response.read() == str(len(BIG)).encode()
        with peer.stream("/size", json=[1, 2]) as response:
            assert response.read_some() == b"5"
            assert list(response) == []

    await aside(people, work)
