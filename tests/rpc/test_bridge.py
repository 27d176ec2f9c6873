"""The reverse bridge: an HTTP server that knows nothing of NATS, and what reaches it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authsvc.errors import InvalidInput
from authsvc.rpc._http.bridge_rules import Rules, is_ambiguous
from authsvc.rpc.http import BridgeService
from tests.rpc.conftest import People

BIG = bytes(range(256)) * 8_000


class Backend:
    """An HTTP/1.1 server in the plainest form, which keeps what it was sent byte by byte."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.answers: dict[str, bytes] = {}
        self.connections = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                self.bodies.append(await _body(reader, head))
                path = head.split(" ")[1].partition("?")[0]
                default = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-path: %b\r\n\r\nok"
                writer.write(self.answers.get(path, default % path.encode()))
                await writer.drain()
                if b"connection: close" in self.answers.get(path, b""):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def header(self, name: str) -> list[str]:
        """The values of a header of the last request."""
        lines = self.heads[-1].split("\r\n")[1:-2]
        pairs = [line.split(": ", 1) for line in lines]
        return [value for found, value in pairs if found.lower() == name]


async def _body(reader: asyncio.StreamReader, head: str) -> bytes:
    if match := re.search(r"content-length: (\d+)", head.lower()):
        return await reader.readexactly(int(match[1]))
    body = b""
    if "transfer-encoding: chunked" in head.lower():
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    return body


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    found = Backend()
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


Bridged = Callable[..., Any]


@pytest.fixture
async def bridged(people: People, backend: Backend) -> AsyncIterator[Bridged]:
    clients: list[httpx.AsyncClient] = []

    async def make(*, target: str | None = None, **options: Any) -> httpx.AsyncClient:
        where = target or f"http://127.0.0.1:{backend.port}"
        bob = await people.client("bob")
        await people.serve(BridgeService("far", where, **options), bob)
        alice = await people.client("alice")
        transport = alice.peer(bob.username, "far").transport()
        http = httpx.AsyncClient(transport=transport, base_url="http://evil.example", timeout=10)
        clients.append(http)
        return http

    try:
        yield make
    finally:
        for http in clients:
            await http.aclose()


async def test_a_request_goes_to_the_one_server_with_its_proven_caller(
    bridged: Bridged, backend: Backend, people: People
) -> None:
    http = await bridged()
    response = await http.post(
        "/a/b?c=d&e=%2F",
        content=b"hello",
        headers=[
            ("X-Syft-User", "carol@example.com"),
            ("x_syft_user", "carol@example.com"),
            ("x.syft.user", "carol@example.com"),
            ("x-syft-REQUEST-id", "1"),
            ("Connection", "x-secret"),
            ("X-Secret", "1"),
            ("TE", "trailers"),
            ("Proxy-Authorization", "Basic eA=="),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X_Forwarded_User", "root"),
            ("Forwarded", "for=127.0.0.1"),
            ("X-Real-IP", "127.0.0.1"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-Original-URL", "/admin"),
            ("X-Kept", "1"),
            ("X-Kept", "2"),
            ("Cookie", "a=1"),
        ],
    )
    assert (response.status_code, response.text) == (200, "ok")
    assert backend.heads[-1].startswith("POST /a/b?c=d&e=%2F HTTP/1.1\r\n")
    assert backend.bodies == [b"hello"]
    assert backend.header("host") == [f"127.0.0.1:{backend.port}"]
    assert backend.header("x-syft-user") == [people.name("alice")]
    assert re.fullmatch("[0-9a-f]{32}", backend.header("x-syft-request-id")[0])
    assert backend.header("x-kept") == ["1", "2"]
    assert backend.header("cookie") == ["a=1"]
    assert backend.header("content-length") == ["5"]
    for name in (
        *(
            "x_syft_user",
            "x.syft.user",
            "connection",
            "x-secret",
            "te",
            "proxy-authorization",
            "forwarded",
        ),
        *("x-forwarded-for", "x_forwarded_user", "x-real-ip", "x-http-method-override"),
        *("x-original-url", "transfer-encoding"),
    ):
        assert backend.header(name) == [], name


async def test_nothing_is_smuggled_past_the_length_of_a_body(
    bridged: Bridged, backend: Backend, people: People
) -> None:
    http = await bridged()
    assert (await http.get("/first")).status_code == 200
    peer = people.clients[-1].peer(people.name("bob"), "far")
    hidden = b"0\r\n\r\nGET /admin HTTP/1.1\r\nhost: x\r\n\r\n"
    for headers in (
        [("transfer-encoding", "chunked"), ("content-length", "0")],
        [("content-length", "0")],
        [("content-length", "0"), ("content-length", "99")],
        [("content-length", "+5")],
        [("transfer-encoding", "identity, chunked")],
    ):
        answer = await peer.call("/x", content=hidden, headers=headers, timeout=5)
        assert answer.status == 200
        assert backend.bodies[-1] == hidden
        assert backend.header("content-length") == [str(len(hidden))]
        assert backend.header("transfer-encoding") == []

    async def pieces() -> AsyncIterator[bytes]:
        yield hidden
        yield hidden

    wrong = [("content-length", "1"), ("content-length", "2")]
    for lengths, status in ((wrong, 400), ([("content-length", "7")], 400)):
        async with peer.stream("/y", content=pieces(), headers=lengths, timeout=5) as response:
            assert response.status == status
    assert not any("/admin" in head.partition("\r\n")[0] for head in backend.heads)


async def test_bodies_of_any_size_pass(bridged: Bridged, backend: Backend) -> None:
    http = await bridged(max_body=len(BIG) + 10)
    backend.answers["/big"] = (
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n\r\n"
        % len(BIG)
    ) + BIG
    backend.answers["/chunked"] = (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    )
    big = await http.get("/big")
    assert big.content == BIG
    assert big.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert (await http.get("/chunked")).content == b"abcdef"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(BIG), 100_000):
            yield BIG[start : start + 100_000]

    assert (await http.post("/up", content=pieces())).status_code == 200
    assert backend.bodies[-1] == BIG
    assert backend.header("transfer-encoding") == ["chunked"]
    assert (await http.post("/up", content=BIG)).status_code == 200
    assert backend.header("content-length") == [str(len(BIG))]
    assert (await http.post("/up", content=BIG + b"x" * 11)).status_code == 413
    backend.answers["/head"] = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
    head = await http.head("/head")
    assert (head.headers["content-length"], head.content) == ("99", b"")
    backend.answers["/empty"] = b"HTTP/1.1 204 No Content\r\n\r\n"
    assert (await http.get("/empty")).status_code == 204


async def test_redirects_and_cookies_are_the_callers_own(
    bridged: Bridged, backend: Backend
) -> None:
    http = await bridged()
    here = f"http://127.0.0.1:{backend.port}".encode()
    head = b"HTTP/1.1 302 Found\r\ncontent-length: 0\r\nset-cookie: session=1\r\nlocation: "
    backend.answers["/in"] = head + here + b"/there?a\r\n\r\n"
    backend.answers["/out"] = head + b"http://169.254.169.254/latest\r\n\r\n"
    assert (await http.get("/in")).headers["location"] == "/there?a"
    away = await http.get("/out")
    assert away.headers["location"] == "http://169.254.169.254/latest"
    assert len(backend.heads) == 2  # the bridge itself follows nowhere
    http.cookies.clear()
    await http.get("/next")
    assert backend.header("cookie") == []


async def test_a_server_that_is_away_or_slow_or_breaks_off(
    bridged: Bridged, backend: Backend
) -> None:
    http = await bridged(timeout=0.5)
    backend.answers["/slow"] = b""
    backend.answers["/cut"] = (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc"
    )
    backend.answers["/cut-big"] = (
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9000000\r\n\r\nabc"
    )
    backend.answers["/noise"] = b"hello\r\nconnection: close\r\n\r\n"
    assert (await http.get("/slow")).status_code == 504
    assert (await http.get("/cut")).status_code == 502
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get("/cut-big")
    noise = await http.get("/noise")
    assert noise.status_code == 502
    assert "127.0.0.1" not in noise.text


async def test_a_server_that_is_not_there(bridged: Bridged) -> None:
    http = await bridged(target="http://127.0.0.1:1")
    assert (await http.get("/")).status_code == 502


async def test_only_what_is_allowed_passes(bridged: Bridged, backend: Backend) -> None:
    http = await bridged(paths=["GET /items/*", "/public/**"], denied=["/public/admin/**"])
    wanted = {
        ("GET", "/items/1"): 200,
        ("HEAD", "/items/1"): 200,
        ("POST", "/items/1"): 403,
        ("GET", "/items/1/more"): 403,
        ("PUT", "/public/a/b"): 200,
        ("GET", "/public/admin"): 403,
        ("GET", "/public/ADMIN/x"): 403,
        ("GET", "/public/%61dmin/x"): 403,
        ("GET", "/public/admin;x=1/y"): 403,
        ("GET", "/public/x%2f..%2fadmin"): 400,
        ("GET", "/"): 403,
    }
    for (method, path), status in wanted.items():
        assert (await http.request(method, path)).status_code == status, (method, path)
    assert len(backend.heads) == list(wanted.values()).count(200)


@pytest.mark.parametrize(
    "path",
    [
        *("/a/../b", "/a/./b", "/..", "/a//b", "//evil.example/x", "/a%2fb", "/a%2Fb", "/a%5Cb"),
        *("/a\\b", "/%2e%2e/b", "/a/%2E/b", "/a%00", "/a%0d%0ab", "/a%7F", "/%zz", "/a%", "/%ff"),
        *("/%252e%252e/b", "/a/..;/b", "/%C2%85"),
    ],
)
def test_paths_that_servers_read_differently_are_refused(path: str) -> None:
    assert is_ambiguous(path)
    assert not Rules().permits("GET", path)


@pytest.mark.parametrize(
    "path", ["/", "/a/b.c/d", "/a%20b", "/%C3%A9", "/a;b=c", "/...", "/a/", "/~x"]
)
def test_other_paths_are_not(path: str) -> None:
    assert Rules().permits("GET", path)


@pytest.mark.parametrize(
    ("rule", "method", "path", "matches"),
    [
        ("/a", "GET", "/a", True),
        ("/a", "GET", "/a/b", False),
        ("* /a", "DELETE", "/a", True),
        ("get /a", "GET", "/a", True),
        ("GET /a", "HEAD", "/a", True),
        ("GET /a", "POST", "/a", False),
        ("/a/*/c", "GET", "/a/b/c", True),
        ("/a/*/c", "GET", "/a/b/d/c", False),
        ("/a/**", "GET", "/a", True),
        ("/a/**", "GET", "/ab", False),
        ("/a/**/c", "GET", "/a/b/d/c", True),
        ("/a.b", "GET", "/axb", False),
        ("/a", "GET", "/%61", True),
        ("/**", "GET", "/", True),
    ],
)
def test_rules_allow_and_deny(rule: str, method: str, path: str, *, matches: bool) -> None:
    assert Rules(allow=[rule]).permits(method, path) == matches
    assert Rules(deny=[rule]).permits(method, path) != matches


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30))
def test_what_is_denied_is_never_reached_by_another_spelling(rest: str) -> None:
    rules = Rules(deny=["/admin/**"])
    path = "/" + rest.replace("?", "").replace("#", "")
    if rules.permits("GET", path):
        decoded = httpx.URL("http://x").copy_with(raw_path=path.encode()).path
        plain = decoded.partition(";")[0].casefold()
        assert plain != "/admin"
        assert not plain.startswith("/admin/")


@pytest.mark.parametrize("rule", ["", "items", "GET", "GET items", "GET /a /b", "G T /a"])
def test_what_is_no_rule_is_told(rule: str) -> None:
    with pytest.raises(InvalidInput, match="no rule"):
        Rules(allow=[rule])


@pytest.mark.parametrize(
    "target",
    ["", "127.0.0.1:9000", "ftp://x", "http://", "http://a:b@x", "http://x/?q", "http://x/#f"],
)
def test_what_is_no_target_is_told(target: str) -> None:
    with pytest.raises(InvalidInput, match="target"):
        BridgeService("far", target)


async def test_a_target_may_have_a_path(bridged: Bridged, backend: Backend) -> None:
    http = await bridged(target=f"http://127.0.0.1:{backend.port}/base/")
    assert (await http.get("/a?b")).headers["x-path"] == "/base/a"
    with pytest.raises(TypeError, match="HTTP server has the handlers"):
        BridgeService("far", "http://x").on_request("/")(lambda: None)
