"""Forms from elsewhere, frames, headers, and the scopes of a session."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.fixtures.authsvc import LiveService
from tests.server.console.test_signing_in import SIGN_IN, present, somebody

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://evil.example.com"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
]


async def csrf(client: httpx.AsyncClient) -> str:
    found = re.search(
        r'name="csrf" value="([0-9a-f]{64})"', (await client.get("/console/users")).text
    )
    assert found is not None
    return found[1]


async def create(client: httpx.AsyncClient, name: str, token: str, **kw: str) -> httpx.Response:
    return await client.post(
        "/console/users", data={"username": f"{name}@example.com", "csrf": token}, headers=kw
    )


async def users(service: LiveService) -> set[str]:
    items = (await service.admin("GET", "/v1/admin/users")).json()["items"]
    return {it["username"].partition("@")[0] for it in items}


async def test_only_own_forms_count(service: LiveService) -> None:
    key = await service.api_key("admin")
    async with somebody(service) as client, somebody(service) as other:
        await present(client, key)
        await present(other, key)
        mine, others = await csrf(client), await csrf(other)
        assert mine != others
        for wrong in ("", "0" * 64, others, mine[:-1], "ä"):
            assert (await create(client, "eve", wrong)).status_code == 403
        for headers in FOREIGN:
            assert (await create(client, "eve", mine, **headers)).status_code == 403, headers
        assert await users(service) == set()
        own = [
            {},
            {"Sec-Fetch-Site": "same-origin"},
            {"Origin": service.url},
            {"Origin": service.running.public_url},
        ]
        for number, headers in enumerate(own):
            answer = await create(client, f"alice{number}", mine, **headers)
            assert answer.status_code == 303, answer.text
        assert await users(service) == {f"alice{number}" for number in range(4)}


async def test_no_form_from_elsewhere_signs_in(service: LiveService) -> None:
    key = await service.api_key("admin")
    async with somebody(service) as client:
        for headers in FOREIGN:
            answer = await present(client, key, headers=headers)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers


async def test_every_answer_has_its_headers(service: LiveService) -> None:
    async with somebody(service) as client:
        sign_in = await client.get(SIGN_IN)
        await present(client, await service.api_key("admin"))
        page = await client.get("/console")
        script = re.findall(r'src="(/console/static/[^"]+)"', page.text)
        assert len(script) >= 2
        answers = [sign_in, page, *[await client.get(it) for it in script]]
        answers += [await client.get("/console/no-such-page"), await client.post("/console/users")]
    for answer in answers:
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers.get_list("referrer-policy") == ["same-origin"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    assert "immutable" in answers[2].headers["cache-control"]
    # Nothing inline, and nothing from elsewhere.
    for text in (sign_in.text, page.text):
        assert re.findall(r"<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=", text) == []
        assert re.findall(r'(?:src|href|action)="(?:https?:)?//', text) == []


async def test_a_session_may_what_its_key_may(service: LiveService) -> None:
    async with somebody(service) as client:
        await present(client, await service.api_key("users:read"))
        assert (await client.get("/console/users")).status_code == 200
        overview = await client.get("/console")
        assert overview.status_code == 200
        assert "lacks the scope audit:read" in overview.text
        for path, missing in (("/audit", "audit:read"), ("/keys", "keys:rotate")):
            refused = await client.get(f"/console{path}")
            assert refused.status_code == 403
            assert missing in refused.text
        answer = await create(client, "eve", await csrf(client))
        assert answer.status_code == 403
        assert "users:write" in answer.text
        link = await client.post("/console/api-keys", data={"csrf": await csrf(client)})
        assert link.status_code == 403
    assert await users(service) == set()


async def test_the_request_id_runs_through_to_the_audit(service: LiveService) -> None:
    text = await service.api_key("admin")
    async with somebody(service) as client:
        await present(client, text)
        token = await csrf(client)
        answer = await create(client, "alice", token, **{"X-Request-Id": "trace-12345678"})
        assert answer.headers["x-request-id"] == "trace-12345678"
    (event,) = (await service.admin("GET", "/v1/admin/audit?action=user.create")).json()["items"]
    assert event["request_id"] == "trace-12345678"
    assert event["address"] == "127.0.0.1"
    keys = (await service.admin("GET", "/v1/admin/api-keys")).json()["items"]
    assert event["actor"]["kind"] == "api_key"
    assert event["actor"]["id"] in {it["id"] for it in keys if text.startswith(it["prefix"])}


async def test_a_form_that_is_sent_twice_counts_once(service: LiveService) -> None:
    user = (
        await service.admin("POST", "/v1/admin/users", json={"username": "a@example.com"})
    ).json()["id"]
    async with somebody(service) as client:
        await present(client, await service.api_key("admin"))
        form = {"csrf": await csrf(client), "once": "abcdef", "name": "laptop"}
        path = f"/console/users/{user}/credentials"
        first, second = [await client.post(path, data=form) for _ in range(2)]
    assert "BEGIN NATS USER JWT" in first.text
    assert "BEGIN NATS USER JWT" not in second.text
    assert "shown already" in second.text
    found = (await service.admin("GET", f"/v1/admin/users/{user}/credentials")).json()["items"]
    assert len(found) == 1


async def test_nobody_from_outside_says_whose_rights_a_request_has(service: LiveService) -> None:
    """The console tells the API by the scope's state, which no header reaches."""
    keys = (await service.admin("GET", "/v1/admin/api-keys")).json()["items"]
    for name in ("console_api_key", "console-api-key", "x-console-api-key"):
        headers = {name: keys[0]["id"]}
        answer = await service.http.get("/v1/admin/users", headers=headers)
        assert answer.status_code == 401
