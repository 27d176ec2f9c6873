"""What there is, is documented: settings, commands, routes, problems."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer.main

from authsvc.cli.commands import app
from authsvc.server.api.problems import PROBLEMS
from authsvc.server.settings import Settings
from tests.fixtures.authsvc import LiveService

DOCS = Path(__file__).parent.parent / "docs"
ROOT = DOCS.parent


def test_every_setting_is_documented() -> None:
    text = (DOCS / "running.md").read_text()
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", text))
    for name in Settings.model_fields:
        assert name.upper() in documented, name


def commands(command: Any, path: str = "authsvc") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, child in getattr(command, "commands", {}).items():
        found |= commands(child, f"{path} {name}") or {f"{path} {name}": child}
    return found


def test_every_command_is_documented_and_has_an_example() -> None:
    text = (DOCS / "running.md").read_text()
    every = commands(typer.main.get_command(app))
    assert "authsvc up" in every
    for name, command in every.items():
        assert name in text, name
        assert "Example:" in (command.help or ""), name


async def test_every_route_is_documented(service: LiveService) -> None:
    text = (DOCS / "http.md").read_text() + (DOCS / "admin.md").read_text()
    for path in (await service.http.get("/openapi.json")).json()["paths"]:
        plain = re.sub(r"\{[a-z_]+\}", "{}", path)
        documented = re.sub(r"\{[a-z _]+\}", "{}", text)
        assert plain in documented, path


def test_every_problem_is_documented() -> None:
    text = (DOCS / "http.md").read_text()
    for problem in PROBLEMS.values():
        assert f"`{problem.slug}`" in text, problem.slug


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_nothing_names_a_path_of_a_machine() -> None:
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        assert not re.search(r"(?<![\w.])/(home|root|work)/", page.read_text()), page
