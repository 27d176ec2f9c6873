"""``/docs``: all routes on one page, which asks nobody else for anything."""

from __future__ import annotations

import re
from typing import Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.fixtures.authsvc import LiveService

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_every_route_and_shape_is_there(service: LiveService) -> None:
    async with httpx.AsyncClient(base_url=service.url) as client:
        answer = await client.get("/docs")
        document = (await client.get("/openapi.json")).json()
        for gone in ("/redoc", "/docs/oauth2-redirect"):
            assert (await client.get(gone)).status_code == 404
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "script" not in answer.headers["content-security-policy"]
    page = answer.text
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert f'<section class="route" id="{route["operationId"]}"' in page, (method, path)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {it[1:] for it in re.findall(r'href="(#[^"]+)"', page)} <= set(ids)
    assert re.findall(r"<script|(?:src|href)=\"(?:https?:)?//", page) == []
    assert "``" not in page


async def test_it_is_read_on_any_screen(service: LiveService, browser: Browser) -> None:
    context = await browser.new_context(viewport={"width": 360, "height": 800})
    page = await context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda it: complaints.append(it.text))
    page.on("request", lambda it: asked.append(it.url))
    await page.goto(f"{service.url}/docs")
    assert complaints == []
    assert {it for it in asked if not it.startswith("data:")} == {f"{service.url}/docs"}
    await _well_formed(page)
    await context.close()


async def _well_formed(page: Page) -> None:
    looks: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
    for look in looks:
        await page.emulate_media(color_scheme=look)
        found = (await Axe().run(page)).response["violations"]
        assert [it["id"] for it in found if it["impact"] in {"serious", "critical"}] == []
    width: int = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
