"""Login by OIDC, at a real provider."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from authsvc import jose
from authsvc.errors import InvalidName, InvalidToken, LoginUnavailable
from authsvc.server.login import OidcLogin, Provider
from tests.fixtures.authsvc import StartService
from tests.fixtures.oidc import CLIENT, NewProvider, OidcProvider, make_key
from tests.server.login.tokens import REFUSED_NAMES


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def login(
    provider: OidcProvider, clock: Clock | None = None, **values: Any
) -> AsyncIterator[OidcLogin]:
    method = OidcLogin(
        Provider(provider.issuer, clock=clock or time.monotonic),
        **{"audience": CLIENT, **values},
    )
    try:
        yield method
    finally:
        await method.close()


def fetching(method: OidcLogin) -> list[asyncio.Task[None]]:
    task = method.provider._fetching
    return [task] if task else []


# What a provider proves rests on no kind of database.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_person_signs_in(new_provider: NewProvider, start_service: StartService) -> None:
    provider = await new_provider()
    service = await start_service(
        oidc_issuer=provider.issuer, oidc_audience=CLIENT, syftbox_access_token_secret=None
    )
    told = (await service.http.get("/.well-known/authsvc")).json()["login_methods"]
    assert told[0] == {
        "name": "oidc",
        "issuer": provider.issuer,
        "audience": CLIENT,
        "client_id": CLIENT,
        "username_claim": "email",
    }
    tokens = await provider.sign_in("Alice@Example.com")
    answer = await service.login("alice", token=tokens["id_token"])
    assert (answer.status_code, answer.json()["username"]) == (201, "alice@example.com")
    for refused in (tokens["refresh_token"], tokens["access_token"]):
        assert (await service.login("alice", token=refused)).status_code == 401
    tokens = await provider.sign_in("unverified@example.com")
    assert (await service.login("x", token=tokens["id_token"])).status_code == 401
    # Keys roll over: the new ones count at once, the old ones end.
    old = (await provider.sign_in("bob@example.com"))["id_token"]
    await provider.roll([make_key("second", "ES256")])
    method = service.running.methods["oidc"]
    assert isinstance(method, OidcLogin)
    method.provider._tried_at -= 60  # the first fetch is longer ago
    new = (await provider.sign_in("bob@example.com"))["id_token"]
    assert (await service.login("bob", token=new)).status_code == 201
    assert (await service.login("bob2", token=old)).status_code == 401
    assert await provider.count() == 2
    # While it is down the last keys count.
    await provider.stop()
    method.provider._tried_at -= 60
    method.provider._fetched_at -= 7200
    assert (await service.login("bob", token=new)).status_code == 201
    method.provider._tried_at -= 60
    method.provider._fetched_at -= 86400
    down = await service.login("bob", token=new)
    assert (down.status_code, down.json()["type"].split(":")[-1]) == (503, "login-unavailable")
    assert down.headers["retry-after"]


async def test_random_kids_cause_one_fetch_in_30_s_and_good_logins_go_on(
    new_provider: NewProvider,
) -> None:
    provider, clock = await new_provider(), Clock()
    async with login(provider, clock) as method:
        good = (await provider.sign_in("alice@example.com"))["id_token"]
        await method.verify(good, time.time())
        assert await provider.count() == 1
        signed = provider.mint()
        _, payload, signature = signed.split(".")

        async def forge() -> None:
            header = {"alg": "RS256", "kid": secrets.token_hex(8)}
            text = f"{jose.b64encode(jose.dumps(header))}.{payload}.{signature}"
            with pytest.raises(InvalidToken):
                await method.verify(text, time.time())

        for _ in range(10):
            clock.now += 2.9  # 29 s in all
            await asyncio.gather(*[forge() for _ in range(1000)])
            assert (await method.verify(good, time.time())).username == "alice@example.com"
        assert await provider.count() == 1
        clock.now += 2
        await asyncio.gather(*[forge() for _ in range(1000)])
        assert await provider.count() == 2
        # A key that is new in the meantime is found with the next fetch.
        await provider.roll([make_key("next"), *provider.keys])
        new = provider.mint()
        with pytest.raises(InvalidToken):
            await method.verify(new, time.time())
        clock.now += 30
        assert (await method.verify(new, time.time())).username == "alice@example.com"
        assert (await method.verify(good, time.time())).username == "alice@example.com"
        assert await provider.count() == 3


async def test_keys_are_fetched_anew_in_the_background(new_provider: NewProvider) -> None:
    provider, clock = await new_provider(), Clock()
    async with login(provider, clock) as method:
        old = provider.mint()
        await method.verify(old, time.time())
        await provider.roll([make_key("second")])
        clock.now += 299
        await method.verify(old, time.time())
        assert not fetching(method)
        clock.now += 1
        await method.verify(old, time.time())  # not held up
        await asyncio.wait(fetching(method))
        with pytest.raises(InvalidToken):
            await method.verify(old, time.time())
        # After an hour nobody is believed before the keys were looked at.
        new = provider.mint()
        await method.verify(new, time.time())
        await provider.roll([make_key("third")])
        clock.now += 3600
        with pytest.raises(InvalidToken):
            await method.verify(new, time.time())


async def test_a_provider_that_is_down(new_provider: NewProvider) -> None:
    provider, clock = await new_provider(), Clock()
    await provider.set_down(down=True)
    async with login(provider, clock) as method:
        token = provider.mint()
        for _ in range(3):
            with pytest.raises(LoginUnavailable):
                await method.verify(token, time.time())
        with pytest.raises(LoginUnavailable):
            await method.provider.endpoints()
        assert await provider.count("/.well-known/openid-configuration") == 1
        await provider.set_down(down=False)
        clock.now += 30
        await method.verify(token, time.time())
        await provider.set_down(down=True)
        other = provider.mint(kid="new")
        for _ in range(3):
            clock.now += 8 * 3600 - 10
            await method.verify(token, time.time())
            with pytest.raises(LoginUnavailable, match="new key"):
                await method.verify(other, time.time())
        clock.now += 31
        with pytest.raises(LoginUnavailable, match="keys"):
            await method.verify(token, time.time())
        await provider.set_down(down=False)
        clock.now += 31
        await method.verify(token, time.time())


@pytest.mark.parametrize("algorithm", ["PS256", "ES256", "EdDSA"])
async def test_algorithms(new_provider: NewProvider, algorithm: str) -> None:
    provider = await new_provider([make_key("k", algorithm), make_key("other", "RS384")])
    async with login(provider) as method:
        if algorithm == "PS256":  # not among those that count unless set
            with pytest.raises(InvalidToken):
                await method.verify(provider.mint(), time.time())
    async with login(provider, algorithms=[algorithm]) as method:
        assert (await method.verify(provider.mint(), time.time())).method == "oidc"
        for wrong in ("RS384", "RS512", "none", "HS256"):
            head = jose.dumps({"alg": wrong, "kid": "k"})
            rest = provider.mint().partition(".")[2]
            with pytest.raises(InvalidToken):
                await method.verify(f"{jose.b64encode(head)}.{rest}", time.time())
        # A key is for its own algorithm alone, also where another one could use it.
        with pytest.raises(InvalidToken):
            await method.verify(provider.mint(key=provider.keys[1]), time.time())


BAD: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://evil.example"},
    "issuer with a slash": {"iss": "SLASH"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "somebody"},
    "no audience": {"aud": None},
    "audience a number": {"aud": 1},
    "audiences of others": {"aud": ["x", "y"]},
    "audiences not all texts": {"aud": [CLIENT, 1]},
    "expired": {"exp": 1},
    "no exp": {"exp": None},
    "exp a text": {"exp": "4000000000"},
    "not valid yet": {"nbf": 4_000_000_000},
    "iat in the future": {"iat": 4_000_000_000},
    "refresh token": {"typ": "Refresh"},
    "offline token": {"typ": "Offline"},
    "refresh by token_use": {"token_use": "refresh"},
    "logout token": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    "e-mail not verified": {"email_verified": False},
    "e-mail verified 1": {"email_verified": 1},
    "e-mail verified a list": {"email_verified": [True]},
    "nothing of verification": {"email_verified": None},
    "no e-mail": {"email": None},
    "e-mail a list": {"email": ["alice@example.com"]},
}


async def test_what_proves_nothing(new_provider: NewProvider) -> None:
    provider = await new_provider()
    now = time.time()
    async with login(provider) as method:
        for name, changes in BAD.items():
            told = dict(changes)
            if told.get("iss") == "SLASH":
                told["iss"] = provider.issuer + "/"
            with pytest.raises(InvalidToken):
                await method.verify(provider.mint(provider.claims(**told)), now)
            assert name
        header, body, signature = provider.mint().split(".")
        for text in (
            "",
            "..",
            f"{header}.{body}.",
            f"{header}.{body}.{signature[:-4]}AAAA",
            f"{header}.{body}.{signature}=",
            provider.mint(kid="unknown"),
            provider.mint(kid="k" * 300),
            provider.mint(kid=7),
            provider.mint(typ="dpop+jwt"),
            provider.mint(typ="logout+jwt"),
            provider.mint(crit=["exp"]),
            provider.mint(provider.claims(pad="x" * 9000)),
            provider.mint(key=make_key("first", another=1)),
            provider.mint(jose.dumps(provider.claims())[:-1] + b',"email":"bob@example.com"}'),
            provider.mint(b"[]"),
        ):
            with pytest.raises(InvalidToken):
                await method.verify(text, now)
        for name in REFUSED_NAMES:
            with pytest.raises((InvalidName, InvalidToken)):
                await method.verify(provider.mint(provider.claims(email=name)), now)
        audiences = provider.claims(aud=["x", CLIENT], email_verified="true", typ="ID")
        assert (await method.verify(provider.mint(audiences, typ="at+jwt"), now)).email
        assert await provider.count() == 1


async def test_another_claim_is_the_username(new_provider: NewProvider) -> None:
    provider = await new_provider()
    async with login(provider, claim="preferred_username") as method:
        claims = provider.claims(preferred_username="Build-Server", email_verified=None)
        identity = await method.verify(provider.mint(claims), time.time())
        assert (identity.username, identity.email) == ("build-server", False)
        with pytest.raises(InvalidToken):
            await method.verify(provider.mint(), time.time())
        with pytest.raises(InvalidToken):
            await method.verify(provider.mint(claims), time.time(), claimed="somebody")


async def test_a_token_without_kid(new_provider: NewProvider) -> None:
    provider = await new_provider([make_key("a")])
    async with login(provider) as method:
        assert await method.verify(provider.mint(kid=None), time.time())
    await provider.roll([make_key("a"), make_key("b")])
    async with login(provider) as method:
        with pytest.raises(InvalidToken):
            await method.verify(provider.mint(kid=None), time.time())


async def test_the_provider_s_own_keys_are_what_is_believed(new_provider: NewProvider) -> None:
    provider = await new_provider()
    async with httpx.AsyncClient() as http:
        key = (await http.get(f"{provider.issuer}/jwks")).json()["keys"][0]
    async with login(provider) as method:
        # Its public key as a shared secret: RFC 8725 section 2.1.
        header = jose.b64encode(jose.dumps({"alg": "HS256", "kid": key["kid"]}))
        body = provider.mint().split(".")[1]
        forged = f"{header}.{body}.{jose.b64encode(key['n'].encode()[:32])}"
        with pytest.raises(InvalidToken):
            await method.verify(forged, time.time())
        embedded = make_key("first", another=1)
        public = {name: embedded[name] for name in ("kty", "n", "e")}
        for more in ({"jwk": public}, {"jku": "http://127.0.0.1:9/jwks"}):
            with pytest.raises(InvalidToken):
                await method.verify(provider.mint(key=embedded, **more), time.time())
