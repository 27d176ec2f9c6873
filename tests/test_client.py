"""The HTTP API's client, against real HTTP servers: one that misbehaves, and authsvc itself."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from authsvc import dpop, jose
from authsvc.client import Api, Credential
from authsvc.errors import ApiError, InvalidInput, Unavailable
from authsvc.nkey import KeyPair, Prefix

KEY = KeyPair.generate(Prefix.USER)
CREDENTIAL = {
    "id": "crd_1",
    "username": "alice@example.com",
    "subject_token": "alice@example%2Ecom",
    "public_key": KEY.public.text,
    "account": "AA",
    "jwt": "secret.jwt.text",
    "servers": ["nats://127.0.0.1:4222"],
    "inbox_prefix": "_INBOX.alice@example%2Ecom",
    "issued_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-01T01:00:00Z",
    "expires_in": 3600,
    "renew_after": "2026-01-01T00:40:00Z",
    "renew_in": 2400,
}
Answer = tuple[int, dict[str, str], bytes]


class Server(ThreadingHTTPServer):
    """Answers as told, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self, answer: Callable[[int, Any], Answer]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, *_: object) -> None:
        """The client hung up, as a test wanted."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        seen = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, seen, body))
        status, headers, content = self.server.answer(len(self.server.seen), self)
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815  the names http.server looks for

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(answer: Callable[[int, Any], Answer]) -> Iterator[Server]:
    server = Server(answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def problem(status: int, slug: str, **headers: str) -> Answer:
    content = json.dumps({"type": f"urn:authsvc:problem:{slug}", "detail": f"is {slug}"}).encode()
    return status, {"content-type": "application/problem+json"} | headers, content


def created(*_: object) -> Answer:
    return 201, {"content-type": "application/json"}, json.dumps(CREDENTIAL).encode()


def proof(seen: dict[str, str], url: str, method: str, now: float) -> dpop.Proof:
    token = seen["authorization"].partition(" ")[2]
    return dpop.verify(seen["dpop"], method=method, urls={dpop.target(url)}, token=token, now=now)


async def test_a_login_carries_a_proof_for_the_url_it_calls() -> None:
    with serving(created) as server:
        async with Api(f"{server.url}/base/", key=KEY) as api:
            credential = await api.login("the-token", name="laptop", ttl=60)
        method, path, seen, body = server.seen[0]
        assert (method, path) == ("POST", "/base/v1/credentials")
        assert seen["authorization"] == "Bearer the-token"
        assert json.loads(body) == {"name": "laptop", "ttl": 60}
        found = proof(seen, f"{server.url}/base/v1/credentials", "POST", time.time())
        assert found.public_key == KEY.public
    assert credential.jwt == "secret.jwt.text"
    assert (credential.renew_in, credential.app) == (2400.0, None)
    assert credential.expires_at.timestamp() - credential.issued_at.timestamp() == 3600
    assert "secret" not in repr(credential)


async def test_every_route_is_called_as_the_contract_says() -> None:
    def answer(_: int, handler: Any) -> Answer:
        return created() if handler.command == "POST" else (200, {}, b'{"items": []}')

    with serving(answer) as server:
        async with Api(server.url, key=KEY) as api:
            await api.discover()
            await api.renew("j.w.t")
            await api.credentials("j.w.t", limit=5, cursor="a/b=")
            await api.revoke("j.w.t", "a/../b")
            assert await api.me("j.w.t") == {"items": []}
        called = [(method, path) for method, path, _, _ in server.seen]
        assert called == [
            ("GET", "/.well-known/authsvc"),
            ("POST", "/v1/credentials/renew"),
            ("GET", "/v1/credentials?limit=5&cursor=a%2Fb%3D"),
            ("DELETE", "/v1/credentials/a%2F..%2Fb"),
            ("GET", "/v1/me"),
        ]
        assert "authorization" not in server.seen[0][2]
        jtis = set()
        for method, path, seen, _ in server.seen[1:]:
            assert seen["authorization"] == "DPoP j.w.t"
            jtis.add(proof(seen, server.url + path, method, time.time()).jti)
        assert len(jtis) == 4


@pytest.mark.parametrize("ahead", [-7200, 7200])
async def test_the_clock_is_corrected_once_by_a_refusal(ahead: int) -> None:
    def answer(number: int, _: Any) -> Answer:
        if number == 1:
            return problem(401, "unauthorized", Date=formatdate(time.time() + ahead, usegmt=True))
        return created()

    with serving(answer) as server:
        async with Api(server.url, key=KEY) as api:
            await api.login("the-token")
            assert abs(api.clock_offset - ahead) < 2
            await api.login("the-token")
        assert len(server.seen) == 3
        jtis = {
            proof(seen, f"{server.url}/v1/credentials", "POST", time.time() + offset).jti
            for (_, _, seen, _), offset in zip(server.seen, (0, ahead, ahead), strict=True)
        }
        assert len(jtis) == 3


@pytest.mark.parametrize("date", ["", "yesterday", "now", "Mon, 99 Foo 0"])
async def test_a_refusal_that_is_not_about_the_clock_is_not_tried_again(date: str) -> None:
    if date == "now":
        date = formatdate(usegmt=True)
    headers = {"Date": date} if date else {}
    with serving(lambda *_: problem(401, "unauthorized", **headers)) as server:
        async with Api(server.url, key=KEY) as api:
            with pytest.raises(ApiError) as caught:
                await api.login("the-token")
        assert caught.value.status == 401
        assert len(server.seen) == 1


async def test_a_server_whose_clock_jumps_is_not_asked_for_ever() -> None:
    def answer(number: int, _: Any) -> Answer:
        date = formatdate(time.time() + 5000 * number, usegmt=True)
        return problem(401, "unauthorized", Date=date)

    with serving(answer) as server:
        async with Api(server.url, key=KEY) as api:
            with pytest.raises(ApiError):
                await api.login("the-token")
        assert len(server.seen) == 2


async def test_a_token_is_never_sent_where_a_redirect_points() -> None:
    with (
        serving(created) as other,
        serving(lambda *_: (307, {"location": f"{other.url}/x"}, b"")) as server,
    ):
        async with Api(server.url, key=KEY) as api:
            with pytest.raises(ApiError, match="redirect") as caught:
                await api.login("the-token")
        assert caught.value.status == 307
        assert other.seen == []


async def test_problem_documents_become_errors_without_tokens() -> None:
    with serving(lambda *_: problem(409, "key-revoked", **{"Retry-After": "7"})) as server:
        async with Api(server.url, key=KEY) as api:
            with pytest.raises(ApiError, match="is key-revoked") as caught:
                await api.renew("se.cr.et")
    error = caught.value
    assert (error.status, error.slug, error.retry_after) == (409, "key-revoked", 7.0)
    assert "se.cr.et" not in str(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b'{"a":1,"a":2}', b"\xff", b"{}"])
async def test_answers_that_are_none_are_errors(content: bytes) -> None:
    with serving(lambda *_: (502, {}, content)) as server:
        async with Api(server.url, key=KEY) as api:
            with pytest.raises(ApiError) as caught:
                await api.renew("j.w.t")
    assert (caught.value.status, caught.value.slug) == (502, "")
    with serving(lambda *_: (201, {}, content)) as server:
        async with Api(server.url, key=KEY) as api:
            with pytest.raises(ApiError, match="not a credential"):
                await api.renew("j.w.t")


async def test_an_endless_answer_is_cut() -> None:
    with serving(lambda *_: (200, {}, b" " * (5 << 20))) as server:
        async with Api(server.url) as api:
            with pytest.raises(ApiError, match="too large"):
                await api.discover()


async def test_a_server_that_is_away_or_silent_is_unavailable() -> None:
    with serving(created) as server:
        url = server.url
    async with Api(url, key=KEY) as api:
        with pytest.raises(Unavailable) as caught:
            await api.login("the-token")
    assert "the-token" not in str(caught.value)

    def silent(*_: object) -> Answer:
        time.sleep(1)
        return created()

    with serving(silent) as server:
        async with Api(server.url, key=KEY, timeout=0.1) as api:
            with pytest.raises(Unavailable):
                await api.login("the-token")


@pytest.mark.parametrize("url", ["", "ftp://x", "example.com", "http://"])
def test_what_is_no_url_is_refused_before_a_token_is_sent(url: str) -> None:
    with pytest.raises(InvalidInput):
        Api(url, key=KEY)


async def test_a_proof_needs_a_key() -> None:
    async with Api("http://127.0.0.1:1") as api:
        with pytest.raises(InvalidInput, match="nkey"):
            await api.me("j.w.t")


@pytest.mark.parametrize("member", sorted(CREDENTIAL))
def test_a_credential_needs_all_its_members(member: str) -> None:
    with pytest.raises(InvalidInput):
        Credential.parse({key: value for key, value in CREDENTIAL.items() if key != member})


def test_the_credential_is_read_from_strict_json() -> None:
    data = jose.loads(json.dumps(CREDENTIAL | {"app": "chat", "new": 1}))
    assert Credential.parse(data).app == "chat"
