"""Login by a legacy SyftBox server, where it answers oddly; good and bad tokens: conformance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest

from authsvc import jose
from authsvc.errors import InvalidName, InvalidToken, LoginUnavailable
from authsvc.server.login import LegacyWhoami
from tests.server.login.stand_in import answer, serve
from tests.server.login.tokens import NOW, SECRET


def token(**changes: Any) -> str:
    claims = {"type": "access_token", "email": "alice@example.com", "exp": NOW + 600, "iat": NOW}
    told = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(told, SECRET.ljust(32), "HS256")


def says(email: object) -> bytes:
    return answer(200, jose.dumps({"email": email}))


@asynccontextmanager
async def whoami(said: bytes) -> AsyncIterator[tuple[LegacyWhoami, list[list[str]]]]:
    async with serve(lambda _: said) as server:
        method = LegacyWhoami(server.url + "/")
        assert method.describe() == {"name": "whoami", "url": server.url}
        yield method, server.requests
        await method.close()


async def test_the_server_is_asked_once_a_minute() -> None:
    async with whoami(says("Alice@Example.com")) as (method, requests):
        text = token()
        for later in (0, 59):
            identity = await method.verify(text, NOW + later)
            assert (identity.username, identity.expires_at) == ("alice@example.com", NOW + 600)
        assert len(requests) == 1
        assert requests[0][0] == "POST /auth/whoami HTTP/1.1"
        assert f"Authorization: Bearer {text}" in requests[0]
        await method.verify(text, NOW + 60)
        await method.verify(token(email=None), NOW)
        assert len(requests) == 3


async def test_what_the_token_says_has_to_agree() -> None:
    async with whoami(says("mallory@example.com")) as (method, _):
        with pytest.raises(InvalidToken):
            await method.verify(token(), NOW)
    async with whoami(says("no e-mail")) as (method, _):
        with pytest.raises(InvalidName):
            await method.verify(token(email="no e-mail"), NOW)
        with pytest.raises(InvalidToken):
            await method.verify(token(email=["no e-mail"]), NOW)


@pytest.mark.parametrize("status", [401, 403])
async def test_the_server_refuses(status: int) -> None:
    async with whoami(answer(status, b'{"email":"alice@example.com"}')) as (method, requests):
        for _ in range(2):
            with pytest.raises(InvalidToken):
                await method.verify(token(), NOW)
        assert len(requests) == 2


@pytest.mark.parametrize(
    "said",
    [
        answer(200, b"alice@example.com"),
        answer(200, b'{"email":null}'),
        answer(200, b'{"email":"x@x","email":"alice@example.com"}'),
        answer(200, b'["alice@example.com"]'),
        answer(201, b'{"email":"alice@example.com"}'),
        answer(302, b"", "Location: /elsewhere\r\n"),
        answer(404, b""),
        answer(500, b'{"email":"alice@example.com"}'),
        answer(200, b'{"email":"alice@example.com","x":"' + b"x" * 100_000 + b'"}'),
    ],
)
async def test_an_unclear_answer_is_no_answer(said: bytes) -> None:
    async with whoami(said) as (method, requests):
        with pytest.raises(LoginUnavailable):
            await method.verify(token(), NOW)
        assert len(requests) == 1


async def test_a_server_without_authentication_is_not_asked() -> None:
    # It takes base64 of JSON for a token, whoever sends it.
    async with whoami(says("alice@example.com")) as (method, requests):
        plain = jose.b64encode(b'{"email":"alice@example.com"}')
        for text in (plain, f"{plain}.{plain}", f"{plain}.{plain}.", "x", "a" * 5000):
            with pytest.raises(InvalidToken):
                await method.verify(text, NOW)
        assert requests == []
