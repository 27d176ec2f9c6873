"""The bridge to HTTP servers, attacked by frames that no library of ours would send.

The server behind it keeps every byte. Nothing of a message becomes a second request, another
path, host or caller, and nobody gets what was answered to somebody else.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from authsvc import subjects
from authsvc.rpc._http import in_step
from authsvc.rpc._wire import frames
from authsvc.rpc.http import BridgeService
from tests.fixtures.nats import HOST
from tests.rpc.conftest import People, people
from tests.rpc.test_bridge import Backend, backend
from tests.security.raw import RawClient

__all__ = ["backend", "people"]  # the fixtures

NEXT = iter(range(1, 1 << 30))
SECOND = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
Send = Callable[..., Coroutine[Any, Any, frames.ResponseFrame | None]]

NO_MESSAGES: dict[str, bytes] = {
    "a space in the target": b"GET /a HTTP/1.1",
    "an absolute URL": b"GET http://169.254.169.254/latest",
    "no slash": b"GET a",
    "a fragment": b"GET /a#b",
    "a tab": b"GET /a\tb",
    "bytes above ASCII": b"GET /\xc3\xa9",
    "a method with CR LF": b"GE\r\nT /a",
    "a method with a space": b"GET  /a",
    "no method": b" /a",
}
NO_HEADERS: dict[str, bytes] = {
    "LF in a value": b"x: a\nhost: evil",
    "CR in a value": b"x: a\rhost: evil",
    "NUL in a value": b"x: a\0b",
    "a folded line": b"x: a\r\n host: evil",
    "a space before the colon": b"content-length : 5",
    "a capital": b"Content-Length: 5",
    "an empty name": b": x",
    "no colon": b"x",
}
HEADERS: dict[str, bytes] = {
    "CL and TE": b"content-length: 3\r\ntransfer-encoding: chunked",
    "two lengths": b"content-length: 0\r\ncontent-length: 40",
    "a list of lengths": b"content-length: 0, 40",
    "a signed length": b"content-length: +0",
    "a length with zeros": b"content-length: 0000",
    "TE by another name": b"transfer_encoding: chunked\r\nx: y",
    "TE named by connection": b"connection: transfer-encoding, content-length, x-syft-user, host",
    "a trailer": b"te: trailers\r\ntrailer: x-syft-user",
    "an upgrade": b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMA",
    "a websocket": b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAA",
    "expect": b"expect: 100-continue",
    "another host": b"host: evil.example\r\nx-forwarded-host: evil.example\r\nx-host: evil.example",
    "another caller": b"x-syft-user: root@example.com\r\nx_syft_user: root\r\nx.syft-user: root",
    "another request": b"x-original-url: /admin\r\nx-http-method-override: DELETE",
    "a proxy": b"proxy-connection: keep-alive\r\nproxy-authorization: Basic eA==\r\nproxy: http://evil",
    "much of obs-text": b"x: \xff\xfe\x85\xa0\xe2\x80\xa8",
}


@pytest.fixture
async def send(people: People, backend: Backend) -> AsyncIterator[Send]:
    """Sends a frame of any bytes to the bridge, and reads what is answered."""
    bob = await people.client("bob")
    await people.serve(BridgeService("far", f"http://127.0.0.1:{backend.port}", timeout=2), bob)
    name, port = people.name("mallory"), people.kit.server.port
    client = await RawClient.connect(HOST, port, people.kit.user_creds(name))
    me, to = subjects.token(name), subjects.token(bob.username)
    client.subscribe(f"responses.{me}.>")
    await client.settle()

    async def run(
        call: bytes, headers: bytes = b"", body: bytes = b"", *, answered: bool = True
    ) -> frames.ResponseFrame | None:
        client.heard.clear()
        number, now = f"{next(NEXT):032x}", int(time.time() * 1000)
        start = f"AUTHSVC/1 request {number} {now} {now + 9000} ".encode()
        block = headers + b"\r\n" if headers else b""
        client.publish(f"requests.{me}.{to}.far", start + call + b"\r\n" + block + b"\r\n" + body)
        if not answered:
            # Another request comes after it, and its answer is the first that is heard.
            found = await run(b"GET /marker")
            assert found is not None
            assert found.headers[-1] == ("x-path", "/marker")
            return None
        heard = (await client.until(1))[0]
        found = frames.decode_response(heard.body)
        assert found.id == number
        return found

    yield run
    await client.close()


def _requests(backend: Backend) -> list[str]:
    return [head.partition("\r\n")[0] for head in backend.heads]


async def test_what_is_no_message_reaches_nobody(send: Send, backend: Backend) -> None:
    for call in NO_MESSAGES.values():
        await send(call, answered=False)
    for headers in NO_HEADERS.values():
        await send(b"GET /a", headers, answered=False)
    assert set(_requests(backend)) == {"GET /marker HTTP/1.1"}


@pytest.mark.parametrize("method", [b"POST", b"GET", b"HEAD", b"DELETE"])
async def test_no_header_makes_a_second_request(
    send: Send, backend: Backend, people: People, method: bytes
) -> None:
    for name, headers in HEADERS.items():
        backend.heads.clear()
        backend.bodies.clear()
        found = await send(method + b" /first?x=y", headers, SECOND)
        assert found is not None, name
        assert found.status == 200, (name, found)
        assert _requests(backend) == [f"{method.decode()} /first?x=y HTTP/1.1"], name
        assert backend.bodies == [SECOND], name
        assert backend.header("content-length") == [str(len(SECOND))], name
        assert backend.header("host") == [f"127.0.0.1:{backend.port}"], name
        assert backend.header("x-syft-user") == [people.name("mallory")], name
        lines = backend.heads[-1].lower()
        for word in ("evil", "root", "upgrade", "chunked", "trailer", "/admin", "override"):
            if word == "chunked" and name == "TE by another name":
                continue  # which no server takes for it
            assert word not in lines, (name, lines)
        # The connection is in step: whoever comes next gets their own answer.
        after = await send(b"GET /after")
        assert after is not None
        assert dict(after.headers)["x-path"] == "/after", name


@pytest.mark.parametrize(
    "target",
    [b"//evil.example/x", b"/\\evil.example", b"/@evil.example/", b"/http://evil.example/"],
)
async def test_a_path_is_no_other_server(send: Send, backend: Backend, target: bytes) -> None:
    found = await send(b"GET " + target)
    assert found is not None
    assert found.status in {200, 400, 403}
    for request in _requests(backend):
        assert request == f"GET {target.decode()} HTTP/1.1"


@pytest.mark.parametrize("method", [b"CONNECT", b"PRI", b"TRACE", b"x-y!z", b"get"])
async def test_methods_that_mean_more(send: Send, backend: Backend, method: bytes) -> None:
    """CONNECT would make a tunnel of the connection, and the next request its first bytes."""
    for _ in range(3):
        found = await send(method + b" /tunnel", b"", SECOND)
        assert found is not None
        after = await send(b"GET /after")
        assert after is not None
        assert (after.status, dict(after.headers)["x-path"]) == (200, "/after")
    assert not [it for it in _requests(backend) if it.startswith("GET /smuggled")]


SECOND_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-path: /stolen\r\n\r\nstole"
ANSWERS: dict[str, bytes] = {
    "two at once": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok" + SECOND_ANSWER,
    "a body after 204": b"HTTP/1.1 204 No Content\r\n\r\n" + SECOND_ANSWER,
    "a body after 304": b"HTTP/1.1 304 Not Modified\r\n\r\n" + SECOND_ANSWER,
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    + SECOND_ANSWER,
    "hints before": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 60\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"
    b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n"
    b"connection: close\r\n\r\nok",
    "a folded header": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: a\r\n set-cookie: y\r\n\r\nok",
    "a status that is none": b"HTTP/1.1 999 X\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a header": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: a\0b\r\n\r\nok",
    "an id of ours": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nauthsvc-signature: AAAA\r\n\r\nok",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_no_answer_is_taken_for_the_next_one(send: Send, backend: Backend, name: str) -> None:
    """By a server behind the bridge that is led to answer more than once, or that is evil."""
    backend.answers["/led"] = ANSWERS[name]
    for method in (b"GET", b"HEAD", b"CONNECT"):
        found = await send(method + b" /led")
        assert found is not None
        assert found.status in {200, 204, 304, 502, 504}, found
        assert not [it for it in found.headers if it[0].startswith("authsvc-")]
        assert b"stole" not in found.content
        for number in range(3):
            after = await send(b"GET /after%d" % number)
            assert after is not None
            assert (after.status, after.content) == (200, b"ok"), (method, after)
            assert dict(after.headers)["x-path"] == f"/after{number}", (method, after)
    assert not re.search("smuggled|stolen", " ".join(_requests(backend)))


async def test_where_nobody_can_tell_no_connection_is_used_twice(
    send: Send, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an httpcore whose insides are others: slower, and safe."""
    monkeypatch.setattr(in_step, "_PATH", ("no_such_name",))
    backend.answers["/led"] = ANSWERS["two at once"]
    await send(b"GET /first")
    for number in range(3):
        await send(b"GET /led")
        assert backend.header("connection") == ["close"]
        after = await send(b"GET /after%d" % number)
        assert after is not None
        assert dict(after.headers)["x-path"] == f"/after{number}"
    assert backend.connections == 6  # the first was used before that was known
