"""All pages of the reference, each written from what the service really has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from authsvc.server.app import create_app, open_service
from authsvc.server.settings import load
from handbook import errors, metrics, routes, settings, subjects

__all__ = ["FOLDER", "pages", "write"]

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

MARK = "<!-- Written by `python -m handbook` from the code: change it there. -->\n\n"


async def openapi() -> dict[str, Any]:
    """The OpenAPI document of a service that was really opened, without a nats-server."""
    with tempfile.TemporaryDirectory() as folder:
        given = load(
            data_dir=Path(folder) / "data",
            database_url="",
            port=8080,
            public_url=None,
            nats_urls=[],
            nats_internal_urls=[],
        )
        async with open_service(given) as running:
            return create_app(running).openapi()


async def pages() -> dict[str, str]:
    """The text of each page, by its file's name."""
    document = await openapi()
    return {
        name: MARK + text
        for name, text in {
            "settings.md": settings.page(),
            "routes.md": routes.page(document),
            "errors.md": errors.page(),
            "metrics.md": metrics.page(),
            "subjects.md": subjects.page(),
        }.items()
    }


def write(texts: dict[str, str]) -> list[str]:
    """Write the pages that changed, and say which these were."""
    FOLDER.mkdir(exist_ok=True)
    changed = []
    for name, text in texts.items():
        path = FOLDER / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            changed.append(name)
    return changed
