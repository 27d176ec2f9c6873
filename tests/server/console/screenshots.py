"""Pictures of the console for the documentation.

    python -m tests.server.console.screenshots docs/images

They are taken of a real service with a few people in it; look at them before they are committed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from tests.fixtures.authsvc import LiveService, live_service
from tests.server.console.browsing import chromium, visiting
from tests.server.console.town import town

WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
LOOKS = (("light", WIDE), ("dark", WIDE), ("360", PHONE))


async def take(browser: Browser, service: LiveService, folder: Path, look: str) -> None:
    size = dict(LOOKS)[look]
    scheme = "dark" if look == "dark" else "light"
    async with town(service, "the console") as people:
        user = f"/users/{people['user']['id']}"
        pages = {
            "overview": "",
            "users": "/users",
            "user": user,
            "credential": f"/credentials/{people['credential']['id']}",
            "explain": "/explain?username=station-7&action=publish&subject=weather.berlin",
            "audit": "/audit",
            "rotation": "/keys/people",
        }
        async with visiting(
            browser, service, viewport=size, color_scheme=scheme, reduced_motion="reduce"
        ) as visitor:
            await visitor.open("/sign-in")
            await visitor.page.screenshot(path=folder / f"console-sign-in-{look}.png")
            await visitor.sign_in(people["key"])
            for name, path in pages.items():
                await visitor.open(path)
                await visitor.page.wait_for_load_state("networkidle")
                await visitor.page.screenshot(path=folder / f"console-{name}-{look}.png")


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    async with chromium() as browser:
        for look, _ in LOOKS:
            with tempfile.TemporaryDirectory() as data:
                url = f"sqlite+aiosqlite:///{data}/authsvc.db"
                async with live_service(Path(data), url) as service:
                    await take(browser, service, folder, look)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
