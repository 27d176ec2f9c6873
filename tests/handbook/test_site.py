"""The site builds without a warning, and a reader's browser asks nobody else for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING  -" not in built.stderr
    return folder


class Asked(HTMLParser):
    """What a page makes a browser ask for, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.images_without_words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(found.get("href", ""))
        elif tag in {"script", "img", "iframe", "source", "video"}:
            self.loads.append(found.get("src", ""))
        elif tag == "link" and found.get("rel") not in {"canonical", "prev", "next"}:
            self.loads.append(found.get("href", ""))
        if tag == "img" and not found.get("alt"):
            self.images_without_words.append(found.get("src", ""))


def pages(site: Path) -> dict[str, Asked]:
    return {
        str(path.relative_to(site)): Asked(path.read_text("utf-8")) for path in site.rglob("*.html")
    }


def test_a_page_asks_nobody_else(site: Path) -> None:
    for name, page in pages(site).items():
        assert not [it for it in page.loads if re.match(r"(https?:)?//", it)], name
        assert not page.images_without_words, name


def test_every_page_is_in_the_navigation(site: Path) -> None:
    first = Asked((site / "index.html").read_text("utf-8"))
    there = {link.partition("#")[0] for link in first.links}
    for path in DOCS.rglob("*.md"):
        name = str(path.relative_to(DOCS).with_suffix(".html")).replace("README", "index")
        assert name in there | {"index.html"}, f"{name} is in no menu"


def test_links_out_of_the_folder_lead_to_the_repository(site: Path) -> None:
    for name, page in pages(site).items():
        for link in page.links:
            prefix = "https://github.com/OpenMined/authsvc/blob/main/"
            if link.startswith(prefix):
                assert (ROOT / link.removeprefix(prefix).partition("#")[0]).exists(), (name, link)
