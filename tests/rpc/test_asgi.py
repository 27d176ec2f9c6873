"""ASGI applications on NATS: lifespan, a database, static files, two ways in, a process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from authsvc.claims import format_creds
from authsvc.errors import InvalidInput
from authsvc.rpc import Service
from authsvc.rpc.http import AsgiService, rpc_lifespan
from tests.rpc.conftest import Eventually, People

Scope = MutableMapping[str, Any]


def client_for(people: People, app: str = "web") -> httpx.AsyncClient:
    transport = people.clients[-1].peer(people.name("bob"), app).transport()
    return httpx.AsyncClient(transport=transport, base_url="http://bob", timeout=10)


async def served(people: People, service: Service) -> httpx.AsyncClient:
    await people.serve(service, await people.client("bob"))
    await people.client("alice")
    return client_for(people, service.name)


class Note(BaseModel):
    text: str


def notes(path: Path) -> FastAPI:
    """A real app: its database is opened by its lifespan, and each note has an owner."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        database = sqlite3.connect(path, check_same_thread=False)
        database.execute("create table if not exists notes (id integer primary key, owner, text)")
        try:
            yield {"database": database}
        finally:
            database.close()
            path.with_suffix(".closed").touch()

    app = FastAPI(lifespan=lifespan)

    def owner(request: Request) -> str:
        return request.headers["x-syft-user"]

    @app.post("/notes", status_code=201)
    async def create(note: Note, request: Request) -> dict[str, Any]:
        who = owner(request)
        database = request.state.database
        with database:
            row = database.execute(
                "insert into notes (owner, text) values (?, ?)", (who, note.text)
            )
        return {"id": row.lastrowid, "owner": who}

    @app.get("/notes/{number}")
    async def read(number: int, request: Request) -> dict[str, str]:
        who = owner(request)
        found = request.state.database.execute(
            "select text from notes where id = ? and owner = ?", (number, who)
        ).fetchone()
        if found is None:
            raise HTTPException(404)
        return {"text": found[0]}

    return app


async def test_an_app_with_a_database(people: People, tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    bob = await people.client("bob")
    service = AsgiService(notes(path), "web")
    serving = await people.serve(service, bob)
    await people.client("carol")
    carol = client_for(people)
    await people.client("alice")
    async with client_for(people) as alice, carol:
        texts = [f"note {n}" for n in range(30)]
        made = await asyncio.gather(*[alice.post("/notes", json={"text": it}) for it in texts])
        assert {it.status_code for it in made} == {201}
        assert made[0].json()["owner"] == people.name("alice")
        ids = [it.json()["id"] for it in made]
        read = await asyncio.gather(*[alice.get(f"/notes/{number}") for number in ids])
        assert [it.json()["text"] for it in read] == texts
        # Carol says that she is alice; the app knows better.
        forged = {"x-syft-user": people.name("alice")}
        assert (await carol.get(f"/notes/{ids[0]}", headers=forged)).status_code == 404
        assert (await alice.post("/notes", json={"txt": 1})).status_code == 422
    await service.stop()
    await serving
    assert path.with_suffix(".closed").exists()


async def test_static_files(people: People, tmp_path: Path) -> None:
    big = bytes(range(256)) * 5000
    (tmp_path / "big.bin").write_bytes(big)
    (tmp_path / "a b.html").write_text("<p>hello")
    app = Starlette(routes=[Mount("/static", StaticFiles(directory=tmp_path))])
    async with await served(people, AsgiService(app, "web")) as http:
        page = await http.get("/static/a b.html")
        assert (page.text, page.headers["content-type"]) == ("<p>hello", "text/html; charset=utf-8")
        assert (await http.get("/static/big.bin")).content == big
        part = await http.get("/static/big.bin", headers={"range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, big[100:200])
        same = await http.get("/static/big.bin", headers={"if-none-match": page.headers["etag"]})
        assert same.status_code == 200
        etag = same.headers["etag"]
        same = await http.get("/static/big.bin", headers={"if-none-match": etag})
        assert (same.status_code, same.content) == (304, b"")
        head = await http.head("/static/big.bin")
        assert (head.headers["content-length"], head.content) == (str(len(big)), b"")
        for path in ("/static/../secret", "/static/%2e%2e/secret", "/static/nothing"):
            assert (await http.get(path)).status_code == 404


async def test_a_plain_call_reaches_an_app_too(people: People) -> None:
    app = FastAPI()
    done = asyncio.Event()

    @app.post("/later")
    async def later(tasks: BackgroundTasks, request: Request) -> dict[str, Any]:
        async def work() -> None:
            await release.wait()
            done.set()

        tasks.add_task(work)
        return {"got": await request.json(), "user": request.headers["x-syft-user"]}

    release = asyncio.Event()
    async with await served(people, AsgiService(app, "web")) as http:
        peer = people.clients[-1].peer(people.name("bob"), "web")
        # What runs in the background holds no answer up.
        answer = await peer.call("/later", json=[1], timeout=5)
        assert answer.json() == {"got": [1], "user": people.name("alice")}
        assert (await http.post("/later", json=[2])).json()["got"] == [2]
        assert not done.is_set()
        release.set()
        await asyncio.wait_for(done.wait(), 10)


async def test_who_may_call_is_asked_before_the_app(people: People) -> None:
    called = False

    async def app(scope: Scope, _receive: Any, _send: Any) -> None:
        nonlocal called
        called = called or scope["type"] == "http"

    service = AsgiService(app, "web", allow=["carol@example.com"])
    async with await served(people, service) as http:
        assert (await http.post("/", content=b"x" * 3_000_000)).status_code == 403
        assert not called
        assert service.stats.refused == 1
        with pytest.raises(TypeError, match="application has the handlers"):
            service.on_request("/")(lambda: None)


async def test_a_body_that_is_too_large_is_413(people: People) -> None:
    app = FastAPI()

    @app.post("/")
    async def take(request: Request) -> int:
        return len(await request.body())

    async with await served(people, AsgiService(app, "web", max_body=1_000_000)) as http:
        assert (await http.post("/", content=b"x" * 999_999)).json() == 999_999
        assert (await http.post("/", content=b"x" * 1_000_001)).status_code == 413


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"type": "http.response.start", "status": 200}],
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200}] * 2,
        [{"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\r\nc: d")]}],
        [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]},
            {"type": "http.response.body", "body": b"123"},
        ],
    ],
    ids=["nothing", "no body", "no start", "two starts", "split header", "too short"],
)
async def test_an_app_that_breaks_the_rules_is_a_500(
    people: People, messages: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, _receive: Any, send: Any) -> None:
        assert scope["type"] == "http", "no lifespan"
        for message in messages:
            await send(message)

    caplog.set_level(logging.CRITICAL, "authsvc.rpc")
    async with await served(people, AsgiService(app, "web")) as http:
        assert (await http.get("/")).status_code == 500


async def test_an_app_that_cannot_start_is_not_served(people: People) -> None:
    async def app(_scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    service = AsgiService(app, "web")
    serving = asyncio.create_task(service.serve(await people.client("bob")))
    with pytest.raises(RuntimeError, match="can't start"):
        await service.ready()
    with pytest.raises(RuntimeError, match="can't start"):
        await serving


async def test_an_app_on_http_and_on_nats_believes_nats_alone(people: People) -> None:
    bob = await people.client("bob")
    ended: list[str] = []

    @contextlib.asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[dict[str, str]]:
        yield {"from": "own"}
        ended.append("own")

    app = FastAPI(lifespan=rpc_lifespan("web", lifespan=own, client=bob, state={"more": "1"}))

    @app.get("/who")
    async def who(request: Request) -> list[Any]:
        seen = [name for name, _ in request.headers.items() if "syft" in name]
        state = [getattr(request.state, "from", None), getattr(request.state, "more", None)]
        return [request.headers.get("x-syft-user"), len(seen), *state]

    await people.client("alice")
    forged = {"X-Syft-User": "eve@example.com", "x_syft_user": "eve", "X-SYFT-REQUEST-ID": "1"}
    async with client_for(people) as nats:
        async with lifespan_of(app):
            by_nats = await nats.get("/who", headers=forged)
            assert by_nats.json() == [people.name("alice"), 2, "own", "1"]
            over_http = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=over_http, base_url="http://x") as http:
                assert (await http.get("/who", headers=forged)).json()[:2] == [None, 0]
        assert ended == ["own"]
        with pytest.raises(httpx.ConnectError):
            await nats.get("/who")


@contextlib.asynccontextmanager
async def lifespan_of(app: Any) -> AsyncIterator[None]:
    """What an HTTP server does with an app's lifespan."""
    from authsvc.rpc._http.lifespan import Lifespan  # noqa: PLC0415

    async with Lifespan(app):
        yield


async def test_rpc_lifespan_is_for_apps_that_can_be_guarded(people: People) -> None:
    with pytest.raises(InvalidInput, match="FastAPI and Starlette"):
        async with rpc_lifespan("web", client=await people.client("bob"))(object()):
            pass


PROGRAM = """
import sys
from fastapi import FastAPI, Request
from authsvc.rpc.http import serve_asgi

app = FastAPI()

@app.get("/who")
async def who(request: Request) -> str:
    return request.headers["x-syft-user"]

ready = lambda: print("ready", flush=True)
serve_asgi(app, "web", creds=sys.argv[1], servers=[sys.argv[2]], on_ready=ready)
print("over", flush=True)
"""


async def test_serve_asgi_blocks_until_it_is_told_to_end(people: People, tmp_path: Path) -> None:
    creds = people.kit.user_creds(people.name("bob"))
    path = tmp_path / "bob.creds"
    path.write_text(format_creds(creds.jwt, creds.key))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, path, people.kit.url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        await people.client("alice")
        async with client_for(people) as http:
            assert (await http.get("/who")).json() == people.name("alice")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"over\n"
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_name_that_is_not_ascii_is_percent_encoded(people: People) -> None:
    app = FastAPI()

    @app.get("/", response_class=PlainTextResponse)
    async def who(request: Request) -> str:
        return request.headers["x-syft-user"]

    await people.serve(AsgiService(app, "web"), await people.client("bob"))
    await people.client("jörg%")
    async with client_for(people) as http:
        assert (await http.get("/")).text == people.name("j%C3%B6rg%25")


async def test_the_end_of_an_upload_that_was_given_up_is_told(
    people: People, eventually: Eventually
) -> None:
    app = FastAPI()
    told: list[str] = []

    @app.post("/")
    async def take(request: Request) -> None:
        try:
            async for _ in request.stream():
                pass
        except Exception as error:
            told.append(type(error).__name__)
            raise

    async def half() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the disk is gone")

    async with await served(people, AsgiService(app, "web")) as http:
        with pytest.raises(OSError, match="disk"):
            await http.post("/", content=half())
        await eventually(lambda: told == ["ClientDisconnect"])
