"""Signing in to the console at a real OIDC provider."""

from __future__ import annotations

import httpx
import pytest

from tests.fixtures.authsvc import LiveService, StartService
from tests.fixtures.oidc import CLIENT, CLIENT_SECRET, NewProvider, OidcProvider
from tests.server.console.test_signing_in import SIGN_IN, somebody

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ALICE, EVE = "alice@example.com", "eve@example.com"
BACK = "/console/sign-in/oidc/callback"


@pytest.fixture
async def provider(new_provider: NewProvider) -> OidcProvider:
    return await new_provider()


@pytest.fixture
async def oidc_service(start_service: StartService, provider: OidcProvider) -> LiveService:
    return await start_service(
        oidc_issuer=provider.issuer,
        oidc_audience=CLIENT,
        oidc_client_secret=CLIENT_SECRET,
        console_admins=f"{ALICE.upper()}, bob@example.com",
    )


async def test_an_administrator_signs_in(oidc_service: LiveService, provider: OidcProvider) -> None:
    service = oidc_service
    async with somebody(service) as client, somebody(service) as thief:
        page = await client.get(SIGN_IN)
        assert 'href="/console/sign-in/oidc"' in page.text
        left = await client.get("/console/sign-in/oidc")
        assert left.status_code == 303
        assert "samesite=lax" in left.headers["set-cookie"].lower()
        back = await provider.browse(left.headers["location"], ALICE)
        assert back.startswith(service.running.public_url + BACK)
        path = back.removeprefix(service.running.public_url)
        # Who only saw the address has not the cookie of the browser that left.
        assert (await thief.get(path)).status_code == 401
        answer = await client.get(path)
        assert answer.status_code == 200
        assert 'http-equiv="refresh"' in answer.text
        assert (await client.get("/console/api-keys")).status_code == 200
        assert (await client.get(path)).status_code == 401

        keys = (await service.admin("GET", "/v1/admin/api-keys")).json()["items"]
        (own,) = (it for it in keys if it["name"] == f"console of {ALICE}")
        items = (await service.admin("GET", "/v1/admin/audit?action=console.")).json()["items"]
        assert items[0]["actor"] == {"kind": "api_key", "id": own["id"]}
        assert items[0]["details"] == {"by": "oidc"}
        # Again: the same key. Revoked: out at once, and another one at the next sign-in.
        await enter(service, provider, client, ALICE)
        await service.admin("DELETE", f"/v1/admin/api-keys/{own['id']}")
        assert (await client.get("/console")).headers["location"] == SIGN_IN
        await enter(service, provider, client, ALICE)
        keys = (await service.admin("GET", "/v1/admin/api-keys")).json()["items"]
        states = [it["state"] for it in keys if it["name"] == f"console of {ALICE}"]
        assert states == ["active", "revoked"]
        # Taken out of the setting, with the session still there.
        object.__setattr__(service.running.settings, "console_admins", [])
        assert (await client.get("/console")).headers["location"] == SIGN_IN


async def enter(
    service: LiveService, provider: OidcProvider, client: httpx.AsyncClient, who: str
) -> None:
    left = await client.get("/console/sign-in/oidc")
    back = await provider.browse(left.headers["location"], who)
    answer = await client.get(back.removeprefix(service.running.public_url))
    assert answer.status_code == 200, answer.text


async def test_others_do_not(oidc_service: LiveService, provider: OidcProvider) -> None:
    service = oidc_service
    async with somebody(service) as client:
        left = await client.get("/console/sign-in/oidc")
        back = await provider.browse(left.headers["location"], EVE)
        answer = await client.get(back.removeprefix(service.running.public_url))
        assert answer.status_code == 403
        assert "none of this service" in answer.text
        assert "authsvc-console=" not in answer.headers.get("set-cookie", "")
        await provider.stop()
        assert (await client.get(f"{BACK}?state=x&code=y")).status_code == 401


async def test_without_administrators_nobody_does(service: LiveService) -> None:
    async with somebody(service) as client:
        assert "oidc" not in (await client.get(SIGN_IN)).text
        for path in ("/console/sign-in/oidc", BACK):
            assert (await client.get(path)).status_code == 404


async def test_such_a_key_is_no_last_administrator(
    oidc_service: LiveService, provider: OidcProvider
) -> None:
    text = await oidc_service.api_key("admin")
    async with somebody(oidc_service) as client:
        await enter(oidc_service, provider, client, ALICE)
    keys = (await oidc_service.admin("GET", "/v1/admin/api-keys", key=text)).json()["items"]
    (last,) = (it["id"] for it in keys if text.startswith(it["prefix"]))
    answer = await oidc_service.admin("DELETE", f"/v1/admin/api-keys/{last}", key=text)
    assert answer.status_code == 409
