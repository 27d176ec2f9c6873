"""No token and no redirect makes the service ask an address of somebody else's choice.

A canary listens where an attacker would like requests to go; it hears nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from jwt import PyJWK

from authsvc import jose
from authsvc.errors import AuthsvcError
from authsvc.server.login import SyftboxProbe
from authsvc.server.login.identity import LoginMethod
from authsvc.server.login.oidc import OidcLogin
from authsvc.server.login.provider import Provider
from authsvc.server.login.sign_in import SignIn, derived
from authsvc.server.login.syftbox_secret import SyftboxSecret
from authsvc.server.login.whoami import LegacyWhoami
from tests.fixtures.oidc import make_key
from tests.server.login.proofs import SECRET, hs256
from tests.server.login.stand_in import StandIn, answer, serve
from tests.server.login.test_provider import public

OWN, EVIL = make_key("k"), make_key("k", another=1)
ACCEPTED = answer(400, b'{"code":"E_INVALID_REQUEST"}')
Sign = Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], str]


@pytest.fixture
async def canary() -> AsyncIterator[StandIn]:
    """Would serve the attacker's keys, and name anybody."""
    body = jose.dumps({"keys": [public(EVIL)], "email": "root@example.com", "issuer": "x"})
    async with serve(lambda _: answer(200, body)) as found:
        yield found


def rs256(key: dict[str, Any], header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token that the key signed."""
    head = {"alg": "RS256", "kid": "k", **header}
    text = f"{jose.b64encode(jose.dumps(head))}.{jose.b64encode(jose.dumps(claims))}"
    ready = PyJWK(key)
    return f"{text}.{jose.b64encode(ready.Algorithm.sign(text.encode(), ready.key))}"


def _tempting(url: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Headers, and claims, that name an address."""
    certificate = jose.b64encode(b"certificate")
    return [
        ({"jku": f"{url}/jwks"}, {}),
        ({"x5u": f"{url}/cert.pem"}, {}),
        ({"jku": f"{url}/jwks", "x5u": f"{url}/c", "x5c": [certificate], "x5t": "AA"}, {}),
        ({"jwk": public(EVIL), "kid": f"{url}/jwks"}, {}),
        ({"kid": f"../../..{url}"}, {}),
        ({}, {"iss": url}),
        ({"jku": f"{url}/jwks"}, {"iss": url, "jwks_uri": f"{url}/jwks"}),
        ({}, {"_claim_sources": {"src1": {"endpoint": url, "access_token": "x"}}}),
        ({}, {"cnf": {"jku": f"{url}/jwks", "kid": "k"}, "jku": f"{url}/jwks"}),
        ({}, {"picture": url, "profile": url, "client_url": url, "aud": url}),
        ({"iss": url, "url": url, "sub_jwk": public(EVIL)}, {}),
    ]


def _provider(lines: list[str]) -> bytes:
    url = "http://" + next(it.split(": ")[1] for it in lines if it.lower().startswith("host"))
    if "openid-configuration" not in lines[0]:
        return answer(200, jose.dumps({"keys": [public(OWN)]}))
    where = {"jwks_uri": f"{url}/jwks", "token_endpoint": f"{url}/token"}
    return answer(200, jose.dumps({"issuer": url, **where}))


async def _tempt(method: LoginMethod, tokens: list[str], canary: StandIn) -> int:
    """How many were believed; the canary hears of none."""
    believed = 0
    for token in tokens:
        try:
            assert (await method.verify(token, time.time())).username == "alice@example.com"
            believed += 1
        except AuthsvcError:
            continue
    assert canary.requests == []
    return believed


def _syftbox(url: str) -> list[str]:
    now = int(time.time())
    both = {"type": "access", "sub": "alice@example.com", "exp": now + 60}
    return [
        hs256(jose.dumps({"alg": "HS256", **header}), jose.dumps({**both, **claims}))
        for header, claims in _tempting(url)
    ]


async def test_syftbox_tokens(canary: StandIn) -> None:
    """Signed rightly: what they say beside what counts is passed over, and nothing is fetched."""
    tokens = _syftbox(canary.url)
    assert await _tempt(SyftboxSecret(SECRET), tokens, canary) == len(tokens)
    async with serve(lambda _: ACCEPTED) as server:
        probe = SyftboxProbe(server.url)
        assert await _tempt(probe, tokens, canary) == len(tokens)
        await probe.close()
        assert {lines[0] for lines in server.requests} == {"GET /api/v1/acl/check HTTP/1.1"}


async def test_tokens_of_a_legacy_server(canary: StandIn) -> None:
    now = int(time.time())
    both = {"type": "access_token", "email": "alice@example.com", "exp": now + 60}
    tokens = [
        hs256(jose.dumps({"alg": "HS256", **header}), jose.dumps({**both, **claims}))
        for header, claims in _tempting(canary.url)
    ]
    named = answer(200, b'{"email":"alice@example.com"}')
    async with serve(lambda _: named) as server:
        method = LegacyWhoami(server.url)
        assert await _tempt(method, tokens, canary) == len(tokens)
        await method.close()
        assert {lines[0] for lines in server.requests} == {"POST /auth/whoami HTTP/1.1"}


@pytest.mark.parametrize("key", [OWN, EVIL], ids=["its own key", "the attacker's key"])
async def test_tokens_of_a_provider(canary: StandIn, key: dict[str, Any]) -> None:
    async with serve(_provider) as server:
        now = int(time.time())
        both = {"iss": server.url, "aud": "x", "email": "alice@example.com", "exp": now + 60}
        both["email_verified"] = True
        tokens = [
            rs256(key, header, {**both, **claims}) for header, claims in _tempting(canary.url)
        ]
        method = OidcLogin(Provider(server.url), audience="x")
        believed = await _tempt(method, tokens, canary)
        await method.close()
        # Another kid, issuer or audience is no good even by the right key; the rest is passed over.
        assert believed == (6 if key is OWN else 0)
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_lead_nowhere(canary: StandIn, status: int) -> None:
    """To an internal address, by whoever answers in a login server's place."""
    away = answer(status, b"", f"Location: {canary.url}/latest/meta-data\r\n")
    token = _syftbox(canary.url)[0]
    async with serve(lambda _: away) as server:
        for method in (SyftboxProbe(server.url), LegacyWhoami(server.url)):
            with pytest.raises(AuthsvcError):
                await method.verify(token, time.time())
            await method.close()
    for place in ("openid-configuration", "/jwks", "/token"):

        def said(lines: list[str], place: str = place) -> bytes:
            return away if place in lines[0] else _provider(lines)

        async with serve(said) as server:
            login = OidcLogin(Provider(server.url), audience="x")
            came_back = {"state": derived("s", "state"), "code": "c"}
            with pytest.raises(AuthsvcError):
                await SignIn(login).identify("s", came_back, "http://x/back", time.time())
            with pytest.raises(AuthsvcError):
                await login.verify(token, time.time())
            await login.close()
            assert any(place in lines[0] for lines in server.requests)
    assert canary.requests == []


@pytest.mark.parametrize("refresh", ["Refresh: 0; url=", "Link: <", "Content-Location: "])
async def test_nor_do_other_headers(canary: StandIn, refresh: str) -> None:
    said = f"{refresh}{canary.url}\r\nContent-Type: application/json\r\n"
    async with serve(lambda _: answer(200, b"{}", said)) as server:
        probe = SyftboxProbe(server.url)
        with pytest.raises(AuthsvcError):
            await probe.verify(_syftbox(canary.url)[0], time.time())
        await probe.close()
    assert canary.requests == []
