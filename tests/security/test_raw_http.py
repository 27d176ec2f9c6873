"""Requests that two readers would cut apart differently, on raw sockets: one answer, or none."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from tests.fixtures.authsvc import LiveService, access_token
from tests.server.api.admin.live import user_key

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ROUTE = "/v1/credentials"
POST = b"POST /v1/credentials HTTP/1.1\r\nHost: x\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

REFUSED = {
    "CL.TE": POST + b"Content-Length: 6\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SECOND,
    "TE.CL": POST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + SECOND,
    "TE.TE": POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND,
    "TE that is none": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "TE with a space": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 38\r\n\r\n" + SECOND,
    "twice the same length": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + SECOND,
    "a list of lengths": POST + b"Content-Length: 0, 0\r\n\r\n" + SECOND,
    "a signed length": POST + b"Content-Length: +0\r\n\r\n" + SECOND,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SECOND,
    "a folded header": GET + b"Host: x\r\nX: a\r\n Host: y\r\n\r\n",
    "a folded first header": GET + b" Host: y\r\nHost: x\r\n\r\n",
    "a bare CR": GET + b"Host: x\r\nX: a\rContent-Length: 5\r\n\r\n",
    "bare LFs": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "a chunk size with a sign": POST + CHUNKED + b"\r\n+0\r\n\r\n" + SECOND,
    "a chunk size with 0x": POST + CHUNKED + b"\r\n0x0\r\n\r\n" + SECOND,
    "a chunk with LF alone": POST + CHUNKED + b"\r\n0\n\n" + SECOND,
    "a chunk longer than told": POST + CHUNKED + b"\r\n1\r\nab\r\n0\r\n\r\n" + SECOND,
    "two Hosts": GET + b"Host: x\r\nHost: y\r\n\r\n",
    "two Hosts alike": GET + b"Host: x\r\nHost: x\r\n\r\n",
    "no Host": GET + b"\r\n",
    "a NUL in a header": GET + b"Host: x\r\nX: a\0b\r\n\r\n",
    "a space in a name": GET + b"Host: x\r\nX y: z\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


async def exchange(service: LiveService, *pieces: bytes, end: bool = True) -> bytes:
    """All that comes back, when the service closes or we have said everything."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.port)
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if end:
                writer.write_eof()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
    return b""


async def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    service: LiveService,
) -> None:
    wrong = {}
    for name, request in REFUSED.items():
        answer = await exchange(service, request)
        head, _, body = answer.partition(b"\r\n\r\n")
        if (
            answer.count(b"HTTP/1.1 ") != 1
            or not head.startswith(b"HTTP/1.1 400 ")
            or b"connection: close" not in head.lower()
            or json.loads(body)["type"] != "urn:authsvc:problem:bad-request"
        ):
            wrong[name] = answer
    assert wrong == {}


async def test_a_length_with_zeros_before_it_is_no_way_around_the_bound(
    service: LiveService,
) -> None:
    length = b"Content-Length: " + b"0" * 40 + b"%d\r\n\r\n"
    for size, status in ((65537, b"413"), (2, b"401"), (0, b"401")):
        answer = await exchange(service, POST + length % size + b"{" * min(size, 2))
        assert answer.startswith(b"HTTP/1.1 " + status), answer
    answer = await exchange(service, POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))


async def test_trailers_are_no_headers(service: LiveService) -> None:
    key, token = user_key(), access_token("alice@example.com")
    proof = service.proof(key, "POST", ROUTE, token)
    secret = f"Authorization: Bearer {token}\r\nDPoP: {proof}\r\n".encode()
    start = POST + CHUNKED + b"Connection: close\r\n"
    late = await exchange(service, start + b"\r\n2\r\n{}\r\n0\r\n" + secret + b"\r\n")
    assert late.startswith(b"HTTP/1.1 401 "), late
    fine = start + secret + b"\r\n2\r\n{}\r\n0\r\nHost: y\r\n\r\n"
    in_time = await exchange(service, fine, end=False)
    assert in_time.startswith(b"HTTP/1.1 201 "), in_time


@pytest.mark.parametrize(
    "endless", [b"0\r\nX: " + b"a" * 16384, b"1;x=" + b"a" * 16384], ids=["trailer", "extension"]
)
async def test_what_is_no_body_is_bounded_too(service: LiveService, endless: bytes) -> None:
    answer = await exchange(service, POST + CHUNKED + b"\r\n", *[endless, *[b"a" * 65536] * 40])
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # reset while we still sent
    assert (await service.http.get("/healthz")).status_code == 200


async def test_an_upgrade_hides_no_second_request(service: LiveService) -> None:
    for protocol in (b"h2c", b"websocket"):
        head = GET + b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        answer = await exchange(service, head + protocol + b"\r\n\r\n" + SECOND)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"smuggled" not in answer


async def test_headers_that_count_come_once(service: LiveService) -> None:
    """Two credentials in one request: which one counts must never be a matter of the reader."""
    token = access_token("alice@example.com")
    key = user_key()
    proofs = [("DPoP", service.proof(key, "POST", ROUTE, token)) for _ in range(2)]
    bearer = ("Authorization", f"Bearer {token}")
    admin = ("Authorization", f"Bearer {await service.api_key('admin')}")
    for headers in ([bearer, bearer, proofs[0]], [bearer, admin, proofs[0]], [bearer, *proofs]):
        assert (await service.http.post(ROUTE, headers=headers)).status_code == 401
    for headers in ([admin, admin], [admin, bearer], [bearer, admin]):
        answer = await service.http.get("/v1/admin/users", headers=headers)
        assert answer.status_code == 401
    both = f"{bearer[1]}, {bearer[1]}"
    answer = await service.http.post(ROUTE, headers=[("Authorization", both), proofs[0]])
    assert answer.status_code == 401
