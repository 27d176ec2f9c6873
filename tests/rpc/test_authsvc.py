"""The library against the whole service: log in, call, renew, be revoked."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from authsvc.client import Api
from authsvc.errors import ApiError
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import (
    AsyncClient,
    NoResponder,
    NotAuthenticated,
    PermissionDenied,
    RpcError,
    Service,
)
from authsvc.rpc._session.keys import load_key
from authsvc.server import metrics
from tests.fixtures.authsvc import LiveService, StartService, access_token


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind: what is asked here is the library; tests/server asks the databases."""
    return sqlite_url


def echo() -> Service:
    service = Service("echo")

    @service.on_request("/echo")
    async def answer(body: bytes) -> bytes:
        return body

    return service


async def test_two_people_log_in_and_talk(service: LiveService, tmp_path: Path) -> None:
    async def token() -> str:
        return access_token("bob@example.com")

    path = tmp_path / "alice.nk"
    async with (
        AsyncClient(service.url, token=access_token("alice@example.com"), key=path) as alice,
        AsyncClient(service.url, token=token) as bob,
    ):
        assert (alice.username, bob.username) == ("alice@example.com", "bob@example.com")
        app = echo()
        serving = asyncio.create_task(app.serve(bob))
        await app.ready()
        peer = alice.peer("bob@example.com", "echo")
        assert (await peer.call("/echo", content=b"x", timeout=5)).content == b"x"
        await app.stop()
        await serving
        async with Api(service.url, key=load_key(path)) as api:
            assert (await api.discover())["login_methods"]
            jwt = alice.session.login.jwt
            assert (await api.me(jwt))["username"] == "alice@example.com"
            listed = await api.credentials(jwt)
            assert [item["state"] for item in listed["items"]] == ["active"]


async def test_a_wrong_token_is_told(service: LiveService) -> None:
    for token in ("nonsense", access_token("alice@example.com", secret="x" * 48)):
        with pytest.raises(NotAuthenticated) as caught:
            await AsyncClient(service.url, token=token).connect()
        assert token not in str(caught.value)


async def test_a_clock_that_is_wrong_is_corrected(service: LiveService) -> None:
    key = KeyPair.generate(Prefix.USER)
    async with Api(service.url, key=key) as api:
        api._offset = -3600.0
        credential = await api.login(access_token("alice@example.com"))
        assert abs(api.clock_offset) < 5
        assert (await api.renew(credential.jwt)).id == credential.id


async def test_short_lives_are_renewed_without_a_lost_call(start_service: StartService) -> None:
    # Both connections are there while one takes over, and that is not too many.
    service = await start_service(credential_ttl=4, user_max_connections=1)
    closed = metrics.KICKED.labels("limit")._value.get()
    alice = AsyncClient(service.url, token=access_token("alice@example.com"))
    bob = AsyncClient(service.url, token=access_token("bob@example.com"))
    async with alice, bob:
        app = echo()
        serving = asyncio.create_task(app.serve(bob))
        await app.ready()
        peer = alice.peer("bob@example.com", "echo")
        waits: list[float] = []
        end = time.monotonic() + 8
        while time.monotonic() < end:
            start = time.monotonic()
            calls = [peer.call("/echo", content=b"x", timeout=5) for _ in range(8)]
            assert [answer.content for answer in await asyncio.gather(*calls)] == [b"x"] * 8
            waits.append(time.monotonic() - start)
            await asyncio.sleep(0.01)
        assert min(alice.stats.renewals, bob.stats.renewals) >= 2
        assert alice.stats.calls == alice.stats.responses
        # A renewal holds no call up; a busy machine does now and then.
        assert sorted(waits)[len(waits) * 99 // 100] < 0.25
        assert max(waits) < 2
        assert metrics.KICKED.labels("limit")._value.get() == closed
        await app.stop()
        await serving


async def test_a_revoked_credential_ends_the_client(service: LiveService) -> None:
    key = KeyPair.generate(Prefix.USER)
    async with AsyncClient(service.url, token=access_token("alice@example.com"), key=key) as alice:
        peer = alice.peer("bob@example.com", "echo")
        with pytest.raises(RpcError):
            await peer.call("/echo", timeout=1)
        async with Api(service.url, key=key) as api:
            jwt = alice.session.login.jwt
            listed = await api.credentials(jwt)
            await api.revoke(jwt, listed["items"][0]["id"])
            async with asyncio.timeout(20):
                while alice.session.failure is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            with pytest.raises((NotAuthenticated, PermissionDenied)):
                await peer.call("/echo", timeout=5)
            with pytest.raises(ApiError) as caught:
                await api.login(access_token("alice@example.com"))
            assert (caught.value.status, caught.value.slug) == (409, "key-revoked")


async def test_authsvc_that_is_away_lets_the_connection_live(start_service: StartService) -> None:
    service = await start_service(credential_ttl=3600)
    async with AsyncClient(service.url, token=access_token("alice@example.com")) as alice:
        alice.session._source._api.url = "http://127.0.0.1:1"  # type: ignore[attr-defined]
        alice.session._kick.set()
        await asyncio.sleep(0.5)
        with pytest.raises(NoResponder):
            await alice.peer("bob@example.com", "echo").call("/", timeout=1)
        assert alice.session.connection is not None
        assert alice.session.failure is None
