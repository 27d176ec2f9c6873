"""The admin API's client, against a real HTTP server that answers as the test says."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from authsvc.admin_client import AdminApi
from authsvc.errors import ApiError, InvalidInput, Unavailable

Answer = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Keeps what it was asked; its answers are taken in turn, the last one stays."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str], dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if "transfer-encoding" in self.headers:
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        headers = {name.lower(): value for name, value in self.headers.items()}
        query = dict(parse_qsl(parts.query))
        self.server.asked.append((self.command, parts.path, query, headers, body))
        answers = self.server.answers
        status, extra, content = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_arguments: object) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as started:
        thread = threading.Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def answer(value: object, status: int = 200, **headers: str) -> Answer:
    return status, headers, json.dumps(value).encode()


def test_calls_carry_key_body_and_headers(server: Server) -> None:
    server.answers = [answer({"a": 1})]
    with AdminApi(server.url + "/", "key") as api:
        assert api.get("/v1/x", q="a b", none=None, n=3) == {"a": 1}
        assert api.post("/v1/x", {"b": 2}, {"Idempotency-Key": "i"}) == {"a": 1}
        assert api.patch("/v1/x", {"c": 3}, {"If-Match": '"1"'}) == {"a": 1}
        server.answers = [(204, {}, b"")]
        assert api.delete("/v1/x") == {}
    assert [asked[0] for asked in server.asked] == ["GET", "POST", "PATCH", "DELETE"]
    assert {asked[3]["authorization"] for asked in server.asked} == {"Bearer key"}
    assert server.asked[0][2] == {"q": "a b", "n": "3"}
    assert server.asked[1][3]["idempotency-key"] == "i"
    assert json.loads(server.asked[2][4]) == {"c": 3}


def test_pages_are_followed_up_to_the_limit(server: Server) -> None:
    pages: list[Any] = [
        {"items": [1, 2], "next_cursor": "2"},
        {"items": [3, 4], "next_cursor": "4"},
        {"items": [5], "next_cursor": None},
    ]
    with AdminApi(server.url, "key") as api:
        server.answers = [answer(page) for page in pages]
        assert list(api.pages("/v1/x", q="a")) == [1, 2, 3, 4, 5]
        assert [asked[2].get("cursor") for asked in server.asked] == [None, "2", "4"]
        server.answers = [answer(page) for page in pages[:2]]
        assert list(api.pages("/v1/x", limit=4)) == [1, 2, 3, 4]
        assert [asked[2]["limit"] for asked in server.asked[3:]] == ["4", "2"]


def test_lines_come_whole(server: Server) -> None:
    with AdminApi(server.url, "key") as api:
        server.answers = [(200, {}, b'{"a":1}\n{"b":2}\n')]
        assert list(api.lines("/v1/x")) == [b'{"a":1}\n', b'{"b":2}\n']
        server.answers = [(200, {}, b'{"a":1}\n{"b"')]
        with pytest.raises(Unavailable, match="broke"):
            list(api.lines("/v1/x"))
        server.answers = [(200, {"content-length": "99", "connection": "close"}, b'{"a":1}\n')]
        with pytest.raises(Unavailable, match="broke"):
            list(api.lines("/v1/x"))


def test_lines_are_sent_and_lines_come_back(server: Server) -> None:
    lines = [f"line {n}\n".encode() for n in range(20_000)]
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, AdminApi(server.url, "key") as api:
        server.answers = [(200, {}, b'{"a":1}\n')]
        assert list(api.exchange("/v1/x", lines)) == [b'{"a":1}\n']
        os.write(writing, b"of a pipe\n")
        os.close(writing)
        assert list(api.exchange("/v1/x", pipe)) == [b'{"a":1}\n']
    assert [asked[4] for asked in server.asked] == [b"".join(lines), b"of a pipe\n"]
    assert server.asked[0][3]["content-type"] == "application/x-ndjson"


def test_https_trusts_who_everybody_trusts(server: Server) -> None:
    """Only http:// goes without the trusted certificates."""
    for url, trusted in (("https://127.0.0.1:1", True), (server.url, False)):
        with AdminApi(url, "key") as api:
            context = api._http._transport._pool._ssl_context  # type: ignore[attr-defined]
            assert context.verify_mode is ssl.CERT_REQUIRED
            assert bool(context.get_ca_certs()) is trusted


def test_refusals_are_told_by_their_problem(server: Server) -> None:
    problem = {"type": "urn:authsvc:problem:not-found", "title": "t", "detail": "there is none"}
    with AdminApi(server.url, "key") as api:
        server.answers = [answer(problem, 404, **{"retry-after": "7"})]
        with pytest.raises(ApiError, match="404: there is none") as caught:
            api.get("/v1/x")
        assert (caught.value.slug, caught.value.retry_after) == ("not-found", 7)
        for content in (b"<html>", b"[]", b""):
            server.answers = [(500, {}, content)]
            with pytest.raises(ApiError, match="500: no detail"):
                list(api.lines("/v1/x"))
        server.answers = [(302, {"location": "http://127.0.0.1:1/"}, b"")]
        with pytest.raises(ApiError, match="redirect"):
            api.get("/v1/x")
        server.answers = [(200, {}, b"<html>")]
        with pytest.raises(ApiError, match="502"):
            api.get("/v1/x")


def test_a_service_that_is_away_is_unavailable() -> None:
    with AdminApi("http://127.0.0.1:1", "key") as api, pytest.raises(Unavailable, match="reached"):
        api.get("/v1/x")


@pytest.mark.parametrize(("url", "key"), [("ftp://x", "k"), ("x", "k"), ("http://x", "a\nb")])
def test_what_can_never_work_is_refused_at_once(url: str, key: str) -> None:
    with pytest.raises(InvalidInput):
        AdminApi(url, key)
