"""A real browser on the real console."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from tests.fixtures.authsvc import LiveService

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(ARGUMENTS), timeout=60_000
        )
        try:
            yield browser
        finally:
            await browser.close()


class Visitor:
    """Somebody with a browser of their own, who notes whatever goes wrong in it."""

    def __init__(self, service: LiveService, context: BrowserContext, page: Page) -> None:
        self.service = service
        self.context = context
        self.page = page
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._watch(request.url))
        page.set_default_timeout(8_000)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _watch(self, url: str) -> None:
        if not url.startswith((self.service.url, "blob:", "data:")):
            self.elsewhere.append(url)

    async def open(self, path: str = "") -> None:
        await self.page.goto(f"{self.service.url}/console{path}")

    async def sign_in(self, key: str | None = None) -> None:
        await self.open("/sign-in")
        await self.page.get_by_label("API key").fill(key or await self.service.api_key("admin"))
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("heading", name="Overview").wait_for()

    async def link(self) -> str:
        """A new link that signs in once."""
        answer = await self.service.admin("POST", "/v1/admin/console-links")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["url"])

    async def width(self) -> tuple[int, int]:
        """How wide the page is, and how wide it is seen."""
        found: list[int] = await self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        return found[0], found[1]


@asynccontextmanager
async def visiting(
    browser: Browser, service: LiveService, **options: Any
) -> AsyncIterator[Visitor]:
    """Options are those of the browser's context."""
    context = await browser.new_context(**options)
    try:
        yield Visitor(service, context, await context.new_page())
    finally:
        await context.close()
