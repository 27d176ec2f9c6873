"""``/docs``: all routes on one page, which asks nobody else for anything."""

from __future__ import annotations

import re
from typing import Literal

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.fixtures.authsvc import LiveService

COLOURS = ("color-contrast", "link-in-text-block")
ONE_OF_A_KIND = """() => {
  const kind = (it) => {
    const style = getComputedStyle(it);
    const look = [style.color, style.backgroundColor, style.fontSize, style.fontWeight,
                  style.opacity, style.display];
    return [it.tagName, it.className, it.open, ...look].join();
  };
  const all = [...document.querySelectorAll("body, body *")];
  const kinds = new Map();
  for (const it of all) kinds.set(it, `${kinds.get(it.parentElement) ?? ""} ${kind(it)}`);
  const seen = new Set();
  for (const it of all) {
    if (!it.isConnected) continue;
    const within = [it, ...it.querySelectorAll("*")];
    if (within.every((each) => seen.has(kinds.get(each)))) it.remove();
    else seen.add(kinds.get(it));
  }
  return [all.length, document.querySelectorAll("body, body *").length];
}"""
"""Leave one of all elements that have the same place, style and content; how many there were."""

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
    width: int = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    assert await _findings(page, {"rules": {it: {"enabled": False} for it in COLOURS}}) == []
    # Contrast takes long to measure: once for each element that looks and stands like another.
    before, after = await page.evaluate(ONE_OF_A_KIND)
    assert before > 10 * after > 300
    looks: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
    for look in looks:
        await page.emulate_media(color_scheme=look)
        assert await _findings(page, {"runOnly": list(COLOURS)}) == []


async def _findings(page: Page, options: dict[str, object]) -> list[str]:
    found = await Axe().run(page, options={"resultTypes": ["violations"], **options})
    return [
        it["id"] for it in found.response["violations"] if it["impact"] in {"serious", "critical"}
    ]
