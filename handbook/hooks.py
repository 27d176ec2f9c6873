"""What mkdocs calls while it builds the site."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

__all__ = ["on_files", "on_page_markdown"]

_SOURCE = "https://github.com/OpenMined/authsvc/blob/main/"
_SECTIONS = {"cli.md": "Reference"}
"""Where pages go that are no how-to guides and that mkdocs.yml does not name."""
_OUTSIDE = re.compile(r"\]\((\.\./[^)\s]+)\)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Put the pages that mkdocs.yml does not name into the navigation."""
    nav: list[Any] = config.nav or []
    sections = {
        name: items for part in nav if isinstance(part, dict) for name, items in part.items()
    }
    named = set(_pages(nav))
    left = sorted(it.src_uri for it in files.documentation_pages() if it.src_uri not in named)
    decisions = [name for name in left if name.startswith("decisions/")]
    for part in sections["Explanation"]:
        if isinstance(part, dict) and "Decisions" in part:
            part["Decisions"] = decisions
    for name in left:
        if name not in decisions:
            sections[_SECTIONS.get(name, "How-to guides")].append(name)
    return files


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [name for part in inner for name in _pages(part)]


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that lead out of docs/ lead to the repository."""
    del config, files
    folder = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, found[1]))
        return found[0] if path.startswith("docs/") else f"]({_SOURCE}{path})"

    return _OUTSIDE.sub(link, markdown)
