"""Links that work once, API keys, cookies, sessions and their ends; on both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update
from sqlmodel import col

from authsvc.server import console_sessions
from authsvc.server.app import create_app, open_service
from authsvc.server.models import ConsoleLink, ConsoleSession
from authsvc.server.tending import prune
from tests.fixtures.authsvc import LiveService, StartService

SIGN_IN = "/console/sign-in"


@pytest.fixture
async def service(shared_service: LiveService) -> LiveService:
    """One for all, where nobody is signed in and no link waits."""
    async with shared_service.running.database.writing() as session:
        await session.execute(delete(ConsoleSession))
        await session.execute(delete(ConsoleLink))
    return shared_service


@asynccontextmanager
async def somebody(service: LiveService) -> AsyncIterator[httpx.AsyncClient]:
    """A client with cookies of its own."""
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        yield client


async def code(service: LiveService, key: str | None = None) -> str:
    """What stands behind the # of a new link."""
    answer = await service.admin("POST", "/v1/admin/console-links", key=key)
    assert answer.status_code == 201, answer.text
    url = str(answer.json()["url"])
    assert url.startswith(f"{service.running.public_url}/console/sign-in#once_")
    return url.partition("#")[2]


async def present(client: httpx.AsyncClient, secret: str, **kw: Any) -> httpx.Response:
    return await client.post(SIGN_IN, data={"secret": secret}, **kw)


async def console_events(service: LiveService) -> list[dict[str, Any]]:
    answer = await service.admin("GET", "/v1/admin/audit?action=console.")
    return list(answer.json()["items"])


async def test_a_link_signs_in_once(service: LiveService) -> None:
    before = await console_events(service)
    secret = await code(service)
    async with somebody(service) as client, somebody(service) as second:
        for _ in range(3):  # whoever previews it
            page = await client.get(f"{SIGN_IN}#{secret}")
            assert page.status_code == 200
            assert "set-cookie" not in page.headers
        answer = await present(client, secret)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
        assert (await client.get("/console")).status_code == 200
        again = await present(second, secret)
        assert again.status_code == 401
        assert "used already" in again.text
        assert "set-cookie" not in again.headers
        assert (await second.get("/console")).headers["location"] == SIGN_IN
    items = [it for it in await console_events(service) if it not in before]
    assert [it["action"] for it in items] == ["console.sign_in", "console.link"]
    assert items[0]["actor"] == {"kind": "api_key", "id": items[1]["target"]["id"]}
    assert items[0]["details"] == {"by": "link"}


async def test_of_two_at_two_replicas_one_gets_in(service: LiveService) -> None:
    secret = await code(service)
    settings = service.settings
    async with open_service(settings) as other:
        transport = httpx.ASGITransport(create_app(other))
        async with (
            httpx.AsyncClient(transport=transport, base_url=service.url) as there,
            somebody(service) as here,
        ):
            answers = await asyncio.gather(
                *(present(client, secret) for client in (here, there, here, there))
            )
            assert sorted(it.status_code for it in answers) == [303, 401, 401, 401]
            # And a session of one is known to the other.
            (cookies,) = (it.cookies for it in answers if it.status_code == 303)
            for client in (here, there):
                client.cookies = cookies
                assert (await client.get("/console/users")).status_code == 200


async def test_a_link_is_over_after_thirty_minutes(service: LiveService) -> None:
    secret = await code(service)
    async with service.running.database.reading() as session:
        row = (await session.scalars(select(ConsoleLink))).one()
        assert secret not in repr(row)
        assert secret not in row.digest
        assert row.expires_at - time.time() == pytest.approx(1800, abs=60)
    async with service.running.database.writing() as session:
        await session.execute(update(ConsoleLink).values(expires_at=int(time.time())))
    async with somebody(service) as client:
        answer = await present(client, secret)
    assert answer.status_code == 401
    assert "authsvc console" in answer.text


async def test_what_is_no_secret_is_refused(service: LiveService) -> None:
    expired = await service.api_key("admin", expires_at=int(time.time()) - 1)
    async with somebody(service) as client:
        for secret in ("authsvc_x", "once_", "once_x", expired, "\x00", "ä" * 100, "x" * 20_000):
            answer = await present(client, secret)
            assert answer.status_code == 401, secret
            assert "set-cookie" not in answer.headers
        assert (await present(client, "")).status_code == 422
        assert (await client.post(SIGN_IN, content=b"\xff=%ff")).status_code == 422
        assert (await client.post(SIGN_IN, content=b"a=1&" * 300)).status_code == 422


async def test_the_cookie_on_plain_http(service: LiveService) -> None:
    async with somebody(service) as client:
        answer = await present(client, await service.api_key("admin"))
    told = answer.headers["set-cookie"].split("; ")
    assert told[0].startswith("authsvc-console=")
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= set(told)
    assert "Secure" not in told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_cookie_under_https(start_service: StartService) -> None:
    service = await start_service(public_url="https://auth.example.com")
    async with somebody(service) as client:
        answer = await present(client, await service.api_key("admin"))
    told = answer.headers["set-cookie"].split("; ")
    assert told[0].startswith("__Host-authsvc-console=")
    assert {"HttpOnly", "Path=/", "SameSite=strict", "Secure"} <= set(told)
    assert not any(it.startswith("Domain") for it in told)


async def test_the_cookie_is_for_the_console_alone(service: LiveService) -> None:
    """The JSON API takes no cookie, so there is nothing that a foreign page could make it do."""
    async with somebody(service) as client:
        await present(client, await service.api_key("admin"))
        assert (await client.get("/v1/admin/users")).status_code == 401
        answer = await client.post(
            "/v1/admin/users",
            content=b'{"username":"eve@example.com"}',
            headers={"Content-Type": "text/plain"},
        )
        assert answer.status_code == 401


async def test_sessions_end(service: LiveService) -> None:
    key = await service.api_key("users:read")
    now = int(time.time())
    ends: list[dict[str, Any]] = [
        {"expires_at": now},
        {"seen_at": now - 2 * 3600},
    ]
    for end in ends:
        async with somebody(service) as client:
            await present(client, key)
            assert (await client.get("/console/users")).status_code == 200
            async with service.running.database.writing() as session:
                await session.execute(update(ConsoleSession).values(end))
            assert (await client.get("/console/users")).status_code == 303


async def test_a_revoked_key_ends_its_sessions(service: LiveService) -> None:
    text = await service.api_key("users:read")
    async with somebody(service) as client:
        await present(client, text)
        keys = (await service.admin("GET", "/v1/admin/api-keys")).json()["items"]
        (key,) = (it["id"] for it in keys if it["prefix"] == text[: len(keys[0]["prefix"])])
        await service.admin("DELETE", f"/v1/admin/api-keys/{key}")
        assert (await client.get("/console/users")).headers["location"] == SIGN_IN
        polled = await client.get("/console/users", headers={"X-Console": "poll"})
        assert polled.status_code == 401


async def test_signing_in_again_is_another_session(service: LiveService) -> None:
    key = await service.api_key("users:read")
    async with somebody(service) as client:
        first = (await present(client, key)).cookies["authsvc-console"]
        second = (await present(client, key)).cookies["authsvc-console"]
    assert first != second


async def test_looking_on_is_no_use_of_the_session(service: LiveService) -> None:
    """A page that refreshes itself keeps nobody signed in."""
    async with somebody(service) as client:
        await present(client, await service.api_key("users:read"))
        old = int(time.time()) - 3600
        async with service.running.database.writing() as session:
            await session.execute(update(ConsoleSession).values(seen_at=old))

        async def seen() -> int:
            async with service.running.database.reading() as session:
                return (await session.scalars(select(col(ConsoleSession.seen_at)))).one()

        await client.get("/console/users", headers={"X-Console": "poll"})
        assert await seen() == old
        await client.get("/console/users")
        assert await seen() > old


async def test_what_is_over_is_forgotten(service: LiveService) -> None:
    await code(service)
    async with somebody(service) as client:
        await present(client, await service.api_key("users:read"))
    async with service.running.database.writing() as session:
        await console_sessions.forget_console(session, time.time())
        assert len((await session.scalars(select(ConsoleSession))).all()) == 1
        await console_sessions.forget_console(session, time.time() + 12 * 3600 + 5)
        assert (await session.scalars(select(ConsoleSession))).all() == []
        assert (await session.scalars(select(ConsoleLink))).all() == []
    assert "forget_console" in prune.__code__.co_names
