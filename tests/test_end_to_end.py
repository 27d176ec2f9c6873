"""People's apps over the whole product: real login route, real nats-server, real library."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from nats.aio.client import Client

from authsvc.claims import format_creds
from authsvc.errors import NotAuthenticated, PermissionDenied
from authsvc.nkey import KeyPair, Prefix
from authsvc.rpc import AsyncClient, Request, Service
from tests.fixtures.authsvc import LiveService, StartService, access_token

Connect = Callable[..., Awaitable[Client]]
ALICE, BOB = "alice@example.com", "bob@example.com"


def client_of(service: LiveService, email: str, **kw: Any) -> AsyncClient:
    return AsyncClient(
        url=service.url,
        token=lambda: access_token(email),
        key=kw.pop("key", None) or KeyPair.generate(Prefix.USER),
        **kw,
    )


@pytest.fixture
async def connect(service: LiveService) -> AsyncIterator[Connect]:
    """Connect as any NATS client would; what nats-py leaves open is closed at the end."""
    clients: list[Client] = []

    async def open_client(jwt: str, pair: KeyPair, **options: Any) -> Client:
        client = Client()
        clients.append(client)
        await client.connect(
            servers=[service.nats_url],
            user_jwt_cb=jwt.encode,
            signature_cb=lambda nonce: base64.b64encode(pair.sign(nonce.encode())),
            allow_reconnect=False,
            **options,
        )
        return client

    yield open_client
    for client in clients:
        await client.close()
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]
            with contextlib.suppress(OSError):
                await client._transport.wait_closed()  # type: ignore[no-untyped-call]


def pingpong() -> Service:
    service = Service("pingpong")

    @service.on_request("/ping")
    async def ping(request: Request) -> dict[str, Any]:
        return {"pong": request.json()["n"], "to": request.requester}

    return service


async def test_two_people_talk(service: LiveService) -> None:
    app = pingpong()
    async with client_of(service, ALICE) as alice, client_of(service, BOB) as bob:
        serving = asyncio.create_task(app.serve(alice))
        await app.ready()
        response = await bob.peer(ALICE, "pingpong").call("/ping", json={"n": 7}, timeout=5)
        assert response.status == 200
        assert response.json() == {"pong": 7, "to": BOB}
        await app.stop()
        await serving


# One kind of database: what is renewed is the same on either, and takes its time.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_renewals_lose_no_call(start_service: StartService) -> None:
    """A credential of 6 s under constant calls, renewed by both sides, five times."""
    service = await start_service(credential_ttl=6)
    app = pingpong()
    slowest, calls = 0.0, 0
    async with client_of(service, ALICE) as alice, client_of(service, BOB) as bob:
        serving = asyncio.create_task(app.serve(alice))
        await app.ready()
        peer = bob.peer(ALICE, "pingpong")
        deadline = time.monotonic() + 40
        while bob.stats.renewals < 5 or alice.stats.renewals < 5:
            assert time.monotonic() < deadline
            started = time.perf_counter()
            response = await peer.call("/ping", json={"n": calls}, timeout=5)
            assert response.json()["pong"] == calls
            slowest = max(slowest, time.perf_counter() - started)
            calls += 1
            await asyncio.sleep(0.002)
        await app.stop()
        await serving
    assert calls > 500
    # The bound that the product promises is 0.25 s; a loaded test machine may add to it.
    assert slowest < 2.0


async def test_revoked_user_is_cut_off_at_once(service: LiveService, connect: Connect) -> None:
    key = KeyPair.generate(Prefix.USER)
    login = (await service.login(ALICE, key)).json()
    other = KeyPair.generate(Prefix.USER)
    second = (await service.login(ALICE, other)).json()
    closed: asyncio.Queue[float] = asyncio.Queue()

    async def on_closed() -> None:
        closed.put_nowait(time.monotonic())

    revoked = await connect(login["jwt"], key, closed_cb=on_closed)
    kept = await connect(second["jwt"], other)
    answer = await service.call(
        "DELETE", f"/v1/credentials/{login['id']}", "DPoP", second["jwt"], other
    )
    assert answer.json()["propagation"]["state"] == "applied"
    async with asyncio.timeout(5):
        await closed.get()
    assert revoked.is_closed
    assert kept.is_connected
    with pytest.raises(Exception, match=r"(?i)authorization"):
        await connect(login["jwt"], key)


async def test_revoked_library_client_says_so(service: LiveService) -> None:
    key = KeyPair.generate(Prefix.USER)
    async with client_of(service, ALICE, key=key) as alice, client_of(service, ALICE) as second:
        listed = await service.call(
            "GET", "/v1/credentials", "DPoP", second.session.login.jwt, second.session.login.key
        )
        mine = [it["id"] for it in listed.json()["items"] if it["public_key"] == key.public.text]
        answer = await service.call(
            "DELETE",
            f"/v1/credentials/{mine[0]}",
            "DPoP",
            second.session.login.jwt,
            second.session.login.key,
        )
        assert answer.status_code == 200
        async with asyncio.timeout(10):
            while True:
                try:
                    await alice.peer(BOB, "pingpong").call("/ping", json={}, timeout=1)
                except (NotAuthenticated, PermissionDenied):
                    break
                except Exception:  # noqa: BLE001 - until the revocation has arrived
                    await asyncio.sleep(0.05)


async def test_revocations_hold_after_a_restart_of_nats_server(
    service: LiveService, connect: Connect
) -> None:
    key, other = KeyPair.generate(Prefix.USER), KeyPair.generate(Prefix.USER)
    login = (await service.login(ALICE, key)).json()
    second = (await service.login(ALICE, other)).json()
    await service.call("DELETE", f"/v1/credentials/{login['id']}", "DPoP", second["jwt"], other)
    pid = service.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while not service.supervisor.restarts or service.supervisor.state != "running":  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    with pytest.raises(Exception, match=r"(?i)authorization"):
        await connect(login["jwt"], key)
    assert (await connect(second["jwt"], other)).is_connected


async def test_narrowed_credential_calls_as_its_app_only(service: LiveService) -> None:
    app = pingpong()
    key = KeyPair.generate(Prefix.USER)
    login = (await service.login(BOB, key, app="pingpong")).json()
    async with (
        client_of(service, ALICE) as alice,
        AsyncClient(creds=format_creds(login["jwt"], key), servers=[service.nats_url]) as bob,
    ):
        serving = asyncio.create_task(app.serve(alice))
        await app.ready()
        response = await bob.peer(ALICE, "pingpong").call("/ping", json={"n": 1}, timeout=5)
        assert response.json() == {"pong": 1, "to": BOB}
        with pytest.raises(PermissionDenied):
            await bob.peer(ALICE, "other").call("/ping", json={"n": 1}, timeout=5)
        await app.stop()
        await serving
