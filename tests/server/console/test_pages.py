"""Every page: accessible in light and dark, fits 360 px, asks nobody else, shows names as text."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from tests.server.console.conftest import Shown
from tests.server.console.town import HOSTILE

PAGES = {
    "overview": "",
    "online": "/online",
    "waiting": "/mailboxes",
    "servers": "/servers",
    "users": "/users",
    "user": "/users/{user}",
    "credentials": "/credentials",
    "credential": "/credentials/{credential}",
    "grants": "/grants",
    "explained": "/explain?username=station-7&action=publish&subject=weather.berlin",
    "not allowed": "/explain?username=station-7&action=publish&subject=requests.bob.x.y",
    "audit": "/audit",
    "keys": "/keys",
    "rotation": "/keys/people",
    "api keys": "/api-keys",
    "enrolment keys": "/enrolment-keys",
    "nothing": "/no-such-page",
}
SERIOUS = {"serious", "critical"}


async def findings(shown: Shown, *rules: str) -> list[str]:
    """What axe holds to be serious; by all its rules unless some are named."""
    options: dict[str, list[str]] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = await Axe().run(shown.visitor.page, options=options)
    return [
        f"{it['id']}: {it['nodes'][0]['html']}"
        for it in found.response["violations"]
        if it["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("name", PAGES)
async def test_a_page(shown: Shown, name: str) -> None:
    visitor, page = shown.visitor, shown.visitor.page
    visitor.complaints.clear()
    path = PAGES[name].format(
        user=shown.people["user"]["id"], credential=shown.people["credential"]["id"]
    )
    await page.set_viewport_size({"width": 1280, "height": 800})
    await visitor.open(path)
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert await findings(shown) == []
    await page.emulate_media(color_scheme="dark")
    assert await findings(shown, "color-contrast", "link-in-text-block") == []
    await page.set_viewport_size({"width": 360, "height": 740})
    width, seen = await visitor.width()
    assert width <= seen
    assert await page.locator("main h1").count() == 1
    expected = ["404"] if name == "nothing" else []
    assert [it for it in visitor.complaints if not any(text in it for text in expected)] == []
    assert visitor.elsewhere == []


async def test_dialogs_are_accessible_and_fit(shown: Shown) -> None:
    page = shown.visitor.page
    for path, button in (
        ("/users", "New user"),
        ("/grants", "New grant"),
        ("/api-keys", "New API key"),
        ("/enrolment-keys", "New enrolment key"),
    ):
        await shown.visitor.open(path)
        await page.get_by_role("button", name=button).click()
        assert await findings(shown) == []
        await page.set_viewport_size({"width": 360, "height": 740})
        width, seen = await shown.visitor.width()
        assert width <= seen
        await page.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_text(shown: Shown, name: str) -> None:
    visitor, page = shown.visitor, shown.visitor.page
    visitor.complaints.clear()
    await visitor.open("/users")
    await page.get_by_role("link", name=name, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    assert await page.title() == f"{name} · authsvc"
    for script in await page.locator("script").all():
        assert str(await script.get_attribute("src")).startswith("/console/static/console.js")
    await page.set_viewport_size({"width": 360, "height": 740})
    width, seen = await visitor.width()
    assert width <= seen
    await page.set_viewport_size({"width": 1280, "height": 800})
    assert visitor.complaints == []


async def test_the_keyboard_is_enough(shown: Shown) -> None:
    page = shown.visitor.page
    await shown.visitor.open("/users")
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    await expect(skip).to_be_focused()
    await expect(skip).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="New user")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Username")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="New user")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Search")).to_be_focused()


async def test_the_theme_is_chosen_and_kept(shown: Shown) -> None:
    page = shown.visitor.page
    await page.emulate_media(color_scheme="light")
    await shown.visitor.open("/users")
    background = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    button = page.get_by_role("button", name="Theme: as the system")
    await button.click()
    await page.get_by_role("button", name="Theme: light").click()
    dark = await page.evaluate(background)
    assert dark != light
    await page.reload()
    assert await page.evaluate(background) == dark
    await page.get_by_role("button", name="Theme: dark").click()
    assert await page.evaluate(background) == light


async def test_the_menu_opens_at_360_px(shown: Shown) -> None:
    page = shown.visitor.page
    await page.set_viewport_size({"width": 360, "height": 740})
    await shown.visitor.open("/users")
    await expect(page.get_by_role("link", name="Audit")).to_be_hidden()
    await page.get_by_role("button", name="Menu").click()
    await page.get_by_role("link", name="Audit").click()
    await expect(page.get_by_role("heading", name="Audit")).to_be_visible()
    await page.set_viewport_size({"width": 1280, "height": 800})
