"""The page where a person lets a terminal in, in a real browser, at a real provider."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from authsvc.client import Api
from authsvc.device_client import DeviceFlow
from authsvc.nkey import KeyPair, Prefix
from tests.fixtures.authsvc import StartService
from tests.fixtures.oidc import CLIENT, CLIENT_SECRET, NewProvider
from tests.server.console.browsing import visiting

SERIOUS = {"serious", "critical"}
_LOOKS: tuple[Literal["dark", "light"], ...] = ("dark", "light")


async def _look(page: Page) -> None:
    """Accessible in light and dark, and no wider than a telephone."""
    for look in _LOOKS:
        await page.emulate_media(color_scheme=look)
        found = (await Axe().run(page)).response["violations"]
        assert [it["id"] for it in found if it["impact"] in SERIOUS] == []
    width: int = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_person_lets_a_terminal_in(
    browser: Browser, new_provider: NewProvider, start_service: StartService
) -> None:
    provider = await new_provider()
    service = await start_service(
        oidc_issuer=provider.issuer, oidc_audience=CLIENT, oidc_client_secret=CLIENT_SECRET
    )
    async with (
        Api(service.url, key=KeyPair.generate(Prefix.USER)) as api,
        visiting(browser, service, viewport={"width": 360, "height": 740}) as visitor,
    ):
        flow = DeviceFlow(api, client="x" * 64)
        asked = await flow.ask()
        page = visitor.page
        await page.goto(asked.verification_uri)
        await _look(page)
        await page.get_by_label("Code").fill(asked.user_code.lower())
        await page.get_by_role("button", name="Continue").click()
        link = page.get_by_role("link", name=f"Sign in at {provider.issuer}")
        await expect(link).to_be_visible()
        await _look(page)
        assert visitor.complaints == []
        await link.click()
        await page.locator("input[name=login]").fill("alice@example.com")
        await page.locator("input[name=password]").fill("any")
        await page.locator("button[type=submit]").click()
        await expect(page.get_by_role("heading", name="Let this terminal in?")).to_be_visible()
        assert page.url == f"{service.url}/device/decide"
        visitor.complaints.clear()  # those of the provider's pages
        await _look(page)
        await page.get_by_role("button", name="Let it in").click()
        await expect(page.get_by_role("heading", name="The terminal is let in")).to_be_visible()
        assert visitor.complaints == []
        kept = {cookie.get("name") for cookie in await visitor.context.cookies()}
        assert "authsvc-device" not in kept
        token = await flow.poll()
        assert token is not None
        assert (await api.login(token)).username == "alice@example.com"
