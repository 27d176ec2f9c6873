from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from authsvc import jose
from authsvc.errors import InvalidName, InvalidToken, LoginUnavailable
from authsvc.server.login import SyftboxProbe, asked, remote
from tests.fixtures.ports import free_port
from tests.server.login.stand_in import answer as _answer
from tests.server.login.stand_in import serve as _serve
from tests.server.login.tokens import BAD, ISSUER, NOW, REFUSED_NAMES, token


def _error(status: int, code: str, text: str) -> bytes:
    # As gin writes it: {"code":...,"error":...}
    return _answer(status, jose.dumps({"code": code, "error": text}))


ACCEPTED = _error(400, "E_INVALID_REQUEST", "Key: 'ACLCheckRequest.User' Error: required")
REFUSED = _error(401, "E_AUTH_INVALID_CREDENTIALS", "invalid access token")
NO_AUTHENTICATION = _error(401, "E_INVALID_REQUEST", "invalid email")


@asynccontextmanager
async def _probe(url: str, issuer: str | None = ISSUER) -> AsyncIterator[SyftboxProbe]:
    probe = SyftboxProbe(url, issuer)
    try:
        yield probe
    finally:
        await probe.close()


async def test_a_token_that_the_server_accepts_proves_its_subject() -> None:
    text = token()
    async with _serve(lambda _: ACCEPTED) as server, _probe(server.url + "/") as probe:
        identity = await probe.verify(text, NOW)
        assert probe.describe() == {"name": "syftbox", "url": server.url, "issuer": ISSUER}
    assert (identity.username, identity.method) == ("alice@example.com", "syftbox")
    assert identity.expires_at == NOW + 3600
    assert server.requests[0][0] == "GET /api/v1/acl/check HTTP/1.1"
    assert f"Authorization: Bearer {text}" in server.requests[0]


@pytest.mark.parametrize("answer", [REFUSED, NO_AUTHENTICATION, _answer(401, b"")])
async def test_a_token_that_the_server_refuses_proves_nothing(answer: bytes) -> None:
    async with _serve(lambda _: answer) as server, _probe(server.url) as probe:
        for _ in range(2):  # refusals are not remembered
            with pytest.raises(InvalidToken, match="could not be authenticated"):
                await probe.verify(token(), NOW)
    assert len(server.requests) == 2


UNCLEAR = {
    "another 400": _error(400, "E_RATE", "x"),
    "400 without JSON": _answer(400, b"<html>E_INVALID_REQUEST</html>"),
    "400 with the code twice": _answer(400, b'{"code":"x","code":"E_INVALID_REQUEST"}'),
    "400 with a list": _answer(400, b'["E_INVALID_REQUEST"]'),
    "400 compressed": _answer(
        400, gzip.compress(b'{"code":"E_INVALID_REQUEST"}'), "Content-Encoding: gzip\r\n"
    ),
    "200": _answer(200, b'{"code":"E_INVALID_REQUEST"}'),
    "redirect": _answer(302, b"", "Location: /elsewhere\r\n"),
    "redirect for ever": _answer(308, b"", "Location: /api/v1/acl/check\r\n"),
    "403": _error(403, "E_ACCESS_DENIED", "x"),
    "404": _answer(404, b"404 page not found"),
    "429": _error(429, "E_RATE_LIMITED", "x"),
    "500": _answer(500, b""),
    "502": _answer(502, b"<html>"),
    "503": _answer(503, b'{"code":"E_INVALID_REQUEST"}'),
    "huge": _answer(400, b'{"code":"E_INVALID_REQUEST","error":"' + b"x" * 200_000 + b'"}'),
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
}


@pytest.mark.parametrize("name", UNCLEAR)
async def test_an_unclear_answer_is_no_answer(name: str) -> None:
    async with _serve(lambda _: UNCLEAR[name]) as server, _probe(server.url) as probe:
        with pytest.raises(LoginUnavailable, match="the SyftBox server"):
            await probe.verify(token(), NOW)
    assert len(server.requests) == 1


async def test_nobody_at_the_address() -> None:
    async with _probe(f"http://127.0.0.1:{free_port()}") as probe:
        with pytest.raises(LoginUnavailable, match="can't be reached"):
            await probe.verify(token(), NOW)


async def test_a_server_that_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_TOTAL_SECONDS", 0.2)
    async with _serve(lambda _: ACCEPTED, delay=5) as server, _probe(server.url) as probe:
        with pytest.raises(LoginUnavailable, match="can't be reached"):
            await probe.verify(token(), NOW)


async def test_a_server_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each byte comes in time, the whole never.
    monkeypatch.setattr(remote, "_TOTAL_SECONDS", 0.3)
    beginning = b"HTTP/1.1 400 X\r\nContent-Length: 100\r\n\r\n"

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(beginning)
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with _probe(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as probe:
        with pytest.raises(LoginUnavailable, match="can't be reached"):
            await probe.verify(token(), NOW)
    server.close()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", [n for n in BAD if "signature" not in n and n != "left-over bits"])
async def test_a_bad_token_is_not_even_sent(name: str) -> None:
    async with _serve(lambda _: ACCEPTED) as server, _probe(server.url) as probe:
        with pytest.raises(InvalidToken):
            await probe.verify(BAD[name], NOW)
    assert server.requests == []


@pytest.mark.parametrize("name", REFUSED_NAMES)
async def test_names_that_the_contract_refuses_say_why(name: str) -> None:
    async with _serve(lambda _: ACCEPTED) as server, _probe(server.url) as probe:
        with pytest.raises(InvalidName):
            await probe.verify(token(sub=name), NOW)


async def test_an_accepted_token_is_asked_about_once_a_minute() -> None:
    text = token()
    async with _serve(lambda _: ACCEPTED) as server, _probe(server.url) as probe:
        for later in (0, 1, 59):
            await probe.verify(text, NOW + later)
        assert len(server.requests) == 1
        await probe.verify(token(sub="bob@example.com"), NOW + 59)
        assert len(server.requests) == 2
        await probe.verify(text, NOW + 60)
        assert len(server.requests) == 3


async def test_an_accepted_token_is_not_believed_after_its_end() -> None:
    text = token(exp=NOW + 10)
    async with _serve(lambda _: ACCEPTED) as server, _probe(server.url) as probe:
        await probe.verify(text, NOW)
        with pytest.raises(InvalidToken, match="could not"):
            await probe.verify(text, NOW + 10)


async def test_a_refusal_after_a_minute_counts() -> None:
    answers = iter([ACCEPTED, REFUSED])
    text = token()
    async with _serve(lambda _: next(answers)) as server, _probe(server.url) as probe:
        await probe.verify(text, NOW)
        with pytest.raises(InvalidToken):
            await probe.verify(text, NOW + 61)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_CACHE_ENTRIES", 3)
    async with _serve(lambda _: ACCEPTED) as server, _probe(server.url) as probe:
        for number in range(10):
            await probe.verify(token(jti=str(number)), NOW)
        assert len(probe._asked._accepted) == 3
        await probe.verify(token(jti="9"), NOW)
        assert len(server.requests) == 10
        await probe.verify(token(jti="0"), NOW)
        assert len(server.requests) == 11


async def test_the_same_token_at_once_is_asked_about_once() -> None:
    text = token()
    async with _serve(lambda _: ACCEPTED, delay=0.1) as server, _probe(server.url) as probe:
        found = await asyncio.gather(*[probe.verify(text, NOW) for _ in range(50)])
        assert {identity.username for identity in found} == {"alice@example.com"}
        assert len(server.requests) == 1


async def test_all_who_share_a_question_get_the_refusal() -> None:
    text = token()
    async with _serve(lambda _: REFUSED, delay=0.1) as server, _probe(server.url) as probe:
        found = await asyncio.gather(
            *[probe.verify(text, NOW) for _ in range(5)], return_exceptions=True
        )
    assert [type(error) for error in found] == [InvalidToken] * 5
    assert len({id(error) for error in found}) == 5
    assert {error.reason for error in found if isinstance(error, InvalidToken)} == {
        "token: the SyftBox server refuses it: E_AUTH_INVALID_CREDENTIALS"
    }


async def test_who_gives_up_does_not_disturb_the_others() -> None:
    text = token()
    async with _serve(lambda _: ACCEPTED, delay=0.1) as server, _probe(server.url) as probe:
        first = asyncio.create_task(probe.verify(text, NOW))
        second = asyncio.create_task(probe.verify(text, NOW))
        await asyncio.sleep(0.02)
        first.cancel()
        assert (await second).username == "alice@example.com"
        with pytest.raises(asyncio.CancelledError):
            await first
        assert len(server.requests) == 1


async def test_stopping_ends_what_is_asked() -> None:
    asked = asyncio.Event()

    def answer(_lines: list[str]) -> bytes:
        asked.set()
        return ACCEPTED[:20]

    async with _serve(answer) as server, _probe(server.url) as probe:
        task = asyncio.create_task(probe.verify(token(), NOW))
        async with asyncio.timeout(10):
            await asked.wait()
        await probe.close()
        with pytest.raises(LoginUnavailable, match="stopping"):
            await task


async def test_the_log_never_shows_the_token(caplog: pytest.LogCaptureFixture) -> None:
    text = token()
    async with _serve(lambda _: UNCLEAR["500"]) as server, _probe(server.url) as probe:
        with pytest.raises(LoginUnavailable) as caught:
            await probe.verify(text, NOW)
    assert "answered 500" in caplog.text
    assert text not in caplog.text + str(caught.value)


async def test_no_cookie_is_kept() -> None:
    cookie = "Set-Cookie: session=alice; Path=/\r\n"
    async with _serve(lambda _: _answer(400, b'{"code":"E_INVALID_REQUEST"}', cookie)) as server:
        probe = SyftboxProbe(server.url)
        for name in ("alice@example.com", "bob@example.com"):
            await probe.verify(token(sub=name), NOW)
        await probe.close()
    assert len(server.requests) == 2
    assert not any(line.lower().startswith("cookie") for lines in server.requests for line in lines)
