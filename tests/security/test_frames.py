"""Every page of the service refuses to be framed, and no session is planted in a browser."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.fixtures.authsvc import LiveService, StartService
from tests.server.console.test_signing_in import present, somebody

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
STARTS = ("/", "/console", "/console/sign-in", "/docs", "/device", "/console/none", "/device?x=<")
SECRET_PAGES = ("users", "credentials", "keys", "api-keys", "enrolment-keys", "audit", "servers")


async def _crawl(client: httpx.AsyncClient) -> dict[str, httpx.Response]:
    """All pages that can be reached by links."""
    waiting, found = list(STARTS), dict[str, httpx.Response]()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        answer = found[path] = await client.get(path)
        if "text/html" in answer.headers.get("content-type", ""):
            links = re.findall(r'href="(/[^"#]*)', answer.text)
            waiting += [link.replace("&amp;", "&") for link in links if len(found) < 80]
    return found


def _policy(answer: httpx.Response) -> dict[str, str]:
    parts = answer.headers.get("content-security-policy", "").split(";")
    return dict(part.strip().partition(" ")[::2] for part in parts)


async def test_no_page_can_be_framed(start_service: StartService) -> None:
    service = await start_service(device_login=True)
    await service.login("alice@example.com")
    async with somebody(service) as client:
        before = await _crawl(client)
        await present(client, await service.api_key("admin"))
        after = await _crawl(client)
    pages = 0
    for path, answer in [*before.items(), *after.items()]:
        assert answer.status_code < 500, path
        if "text/html" not in answer.headers.get("content-type", ""):
            continue
        pages += 1
        policy = _policy(answer)
        assert policy.get("frame-ancestors") == "'none'", path
        assert policy.get("default-src") == policy.get("base-uri") == "'none'", path
        assert "unsafe" not in str(policy), path
        assert answer.headers["x-frame-options"] == "DENY", path
        assert answer.headers["x-content-type-options"] == "nosniff", path
    assert pages > 15
    assert {f"/console/{name}" for name in SECRET_PAGES} <= after.keys()


async def test_a_session_that_was_planted_is_not_taken_up(service: LiveService) -> None:
    """Fixation: what the browser has before signing in is worth no more afterwards."""
    name = "authsvc-console"
    async with somebody(service) as mallory, somebody(service) as victim:
        low = (await present(mallory, await service.api_key("users:read"))).cookies[name]
        for planted in ("made-up", "A" * 43, low):
            victim.cookies.clear()
            victim.cookies.set(name, planted, domain="127.0.0.1")
            answer = await present(victim, await service.api_key("admin"))
            fresh = answer.cookies[name]
            assert fresh not in {planted, low}
            assert (await victim.get("/console/api-keys")).status_code == 200
            # Who planted it has what there was before: their own few rights, or nothing.
            mallory.cookies.clear()
            mallory.cookies.set(name, planted, domain="127.0.0.1")
            answer = await mallory.get("/console/api-keys")
            assert answer.status_code in {303, 401, 403}, answer.text
