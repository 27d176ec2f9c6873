"""What an OIDC provider, or who stands in its way, can't make the service do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from authsvc import jose
from authsvc.errors import InvalidToken, LoginUnavailable
from authsvc.server.login import Provider
from tests.fixtures.oidc import make_key
from tests.server.login.stand_in import StandIn, answer, serve


def public(key: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The key as a JWKS has it."""
    private = {"d", "p", "q", "dp", "dq", "qi"}
    told = {**{name: key[name] for name in key.keys() - private}, **changes}
    return {name: value for name, value in told.items() if value is not None}


class Answers:
    """What the provider says, by path."""

    def __init__(self, keys: object) -> None:
        self.url = ""
        self.changes: dict[str, Any] = {}
        self.discovery: bytes | None = None
        self.jwks = answer(200, jose.dumps({"keys": keys}))

    def __call__(self, lines: list[str]) -> bytes:
        if "openid-configuration" not in lines[0]:
            return self.jwks
        if self.discovery is not None:
            return self.discovery
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.changes}
        return answer(200, jose.dumps(document))


@asynccontextmanager
async def provider(answers: Answers) -> AsyncIterator[tuple[Provider, StandIn]]:
    async with serve(answers) as server:
        answers.url = answers.url or server.url
        found = Provider(server.url)
        yield found, server
        await found.close()


GOOD = make_key("k")


async def test_a_key_is_found() -> None:
    async with provider(Answers([public(GOOD)])) as (found, server):
        (key,) = await found.keys("k", "RS256")
        assert key.key.key_size == 2048
        assert len(server.requests) == 2
        assert (await found.endpoints()).token == ""


DISCOVERY: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "a slash more": {"issuer": "SLASH"},
    "no issuer": {"issuer": None},
    "no jwks_uri": {"jwks_uri": None},
    "jwks_uri a list": {"jwks_uri": ["x"]},
    "keys elsewhere, unencrypted": {"jwks_uri": "http://169.254.169.254/latest/meta-data"},
    "keys at another port": {"jwks_uri": "http://127.0.0.1:1/jwks"},
    "keys in a file": {"jwks_uri": "file:///etc/passwd"},
    "keys with a password": {"jwks_uri": "https://user:pass@evil.example/jwks"},
    "no URL": {"jwks_uri": "https://"},
    "not even a broken one": {"jwks_uri": "https://[x/jwks"},
    "tokens elsewhere": {"token_endpoint": "http://evil.example/token"},
}


@pytest.mark.parametrize("name", DISCOVERY)
async def test_a_discovery_that_is_refused(name: str) -> None:
    answers = Answers([public(GOOD)])
    async with provider(answers) as (found, server):
        answers.changes = dict(DISCOVERY[name])
        if answers.changes.get("issuer") == "SLASH":
            answers.changes["issuer"] = server.url + "/"
        for _ in range(2):
            with pytest.raises(LoginUnavailable):
                await found.keys("k", "RS256")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        answer(302, b"", "Location: /elsewhere\r\n"),
        answer(404, b"{}"),
        answer(200, b"<html>"),
        answer(200, b'{"issuer":"a","issuer":"b"}'),
        answer(200, b'{"x":"' + b"x" * 300_000 + b'"}'),
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
)
async def test_an_answer_that_is_refused(said: bytes) -> None:
    for place in ("discovery", "jwks"):
        answers = Answers([public(GOOD)])
        setattr(answers, place, said)
        async with provider(answers) as (found, server):
            with pytest.raises(LoginUnavailable):
                await found.keys("k", "RS256")
            assert len(server.requests) == (1 if place == "discovery" else 2)


def _small() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": "k"}


KEYS: dict[str, list[Any]] = {
    "none": [],
    "a shared secret": [{"kty": "oct", "k": jose.b64encode(b"x" * 32), "kid": "k"}],
    "a private key": [GOOD],
    "for encryption": [public(GOOD, use="enc")],
    "for signing": [public(GOOD, use=None, key_ops=["sign"])],
    "for another algorithm": [public(GOOD, alg="PS256")],
    "of another kind": [public(make_key("k", "ES256"), alg=None)],
    "another kid": [public(GOOD, kid="other")],
    "kid no text": [public(GOOD, kid=["k"])],
    "broken": [public(GOOD, n="")],
    "broken more": [public(GOOD, n=7)],
    "no object": ["k", None, 1, []],
    "kty no text": [public(GOOD, kty=["RSA"]), public(GOOD, kty={})],
}


@pytest.mark.parametrize("name", [*KEYS, "small"])
async def test_a_key_that_is_not_used(name: str) -> None:
    keys = [_small()] if name == "small" else KEYS[name]
    async with provider(Answers(keys)) as (found, _):
        for _ in range(2):
            with pytest.raises(InvalidToken):
                await found.keys("k", "RS256")
    # What is bad beside it does a good one no harm.
    async with provider(Answers([*keys, public(GOOD)])) as (found, _):
        assert len(await found.keys("k", "RS256")) == 1


@pytest.mark.parametrize("keys", [{}, None, [public(GOOD)] * 101])
async def test_key_sets_that_are_refused(keys: object) -> None:
    async with provider(Answers(keys)) as (found, _):
        with pytest.raises(LoginUnavailable):
            await found.keys("k", "RS256")


async def test_who_gives_up_takes_nothing_from_the_others() -> None:
    async with provider(Answers([public(GOOD)])) as (found, server):
        tasks = [asyncio.create_task(found.keys("k", "RS256")) for _ in range(50)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        kept = await asyncio.gather(*tasks[1:])
        assert all(len(keys) == 1 for keys in kept)
        assert len(server.requests) == 2


async def test_what_a_key_verifies() -> None:
    token = jwt.encode({"exp": int(time.time()) + 60}, jwt.PyJWK(GOOD).key, "RS256")
    signing_input, _, signature = token.rpartition(".")
    async with provider(Answers([public(GOOD)])) as (found, _):
        (key,) = await found.keys(None, "RS256")
        assert key.Algorithm.verify(signing_input.encode(), key.key, jose.b64decode(signature))
