"""Answers that leave in one piece say what all answers say, and leave the connection as it was."""

from __future__ import annotations

import asyncio
import json

import pytest
from prometheus_client import REGISTRY

from authsvc.nkey import KeyPair, Prefix
from authsvc.server.api.ready import ReadyJson
from tests.fixtures.authsvc import LiveService, access_token


@pytest.fixture(scope="module")
def shared_database_url(shared_sqlite_url: str) -> str:
    """One kind: what is asked here is HTTP."""
    return shared_sqlite_url


@pytest.fixture
def service(emptied_service: LiveService) -> LiveService:
    """One for the module, emptied for each test."""
    return emptied_service


def login(service: LiveService, *headers: str, version: str = "1.1") -> bytes:
    """A login's bytes."""
    key = KeyPair.generate(Prefix.USER)
    token = access_token("alice@example.com")
    lines = [
        f"POST /v1/credentials HTTP/{version}",
        "Host: x",
        f"Authorization: Bearer {token}",
        f"DPoP: {service.proof(key, 'POST', '/v1/credentials', token)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


Answer = tuple[bytes, dict[bytes, bytes], bytes]


async def read(reader: asyncio.StreamReader) -> Answer:
    """Status line, headers and body of the next answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    status, *lines = head.split(b"\r\n")[:-2]
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    assert len(headers) == len(lines)
    return status, headers, await reader.readexactly(int(headers[b"content-length"]))


async def exchange(service: LiveService, *requests: bytes) -> tuple[list[Answer], bytes]:
    """The answers to as many requests, sent at once; and what came behind them, if it closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    try:
        writer.write(b"".join(requests))
        answers = [await read(reader) for _ in requests]
        try:
            rest = await asyncio.wait_for(reader.read(), 0.2)
        except TimeoutError:
            rest = b"open"
    finally:
        writer.close()
    return answers, rest


async def test_it_says_what_other_answers_say(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    (quick,), rest = await exchange(service, login(service, "X-Request-Id: abcdefgh"))
    assert (quick[0], rest) == (b"HTTP/1.1 201 Created", b"open")
    assert json.loads(quick[2])["username"] == "alice@example.com"
    monkeypatch.setattr(ReadyJson, "leave", lambda *_: False)
    (usual,), rest = await exchange(service, login(service, "X-Request-Id: abcdefgh"))
    for headers in (quick[1], usual[1]):
        assert headers.pop(b"date")
        assert int(headers.pop(b"content-length"))
    assert (quick[0], quick[1], rest) == (usual[0], usual[1], b"open")
    assert quick[1][b"x-request-id"] == b"abcdefgh"
    assert quick[1][b"cache-control"] == b"no-store"


async def test_requests_one_behind_the_other(service: LiveService) -> None:
    """Sent before the first is answered; each gets its own answer, in order."""
    ids = [f"request-{number}" for number in range(5)]
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\n\r\n"
    requests = [
        health % each.encode() if place % 2 else login(service, f"X-Request-Id: {each}")
        for place, each in enumerate(ids)
    ]
    answers, rest = await exchange(service, *requests)
    assert [headers[b"x-request-id"].decode() for _, headers, _ in answers] == ids
    assert [status.split()[1] for status, _, _ in answers] == [b"201", b"200"] * 2 + [b"201"]
    assert rest == b"open"


@pytest.mark.parametrize(("header", "version"), [("Connection: close", "1.1"), ("X: x", "1.0")])
async def test_a_connection_that_is_to_end(service: LiveService, header: str, version: str) -> None:
    ((status, headers, _),), rest = await exchange(service, login(service, header, version=version))
    assert status.split()[1] == b"201"
    assert headers[b"connection"] == b"close"
    assert rest == b""


async def test_it_is_counted_as_every_answer(service: LiveService) -> None:
    def counted() -> float:
        labels = {"method": "POST", "route": "/v1/credentials", "status": "201"}
        return REGISTRY.get_sample_value("authsvc_http_requests_total", labels) or 0

    before = counted()
    await exchange(service, login(service), login(service))
    assert counted() == before + 2
