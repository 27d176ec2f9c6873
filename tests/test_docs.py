"""What there is, is documented: settings, commands, routes, problems."""

from __future__ import annotations

import re
from pathlib import Path

from authsvc.cli import reference
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


def test_every_command_and_option_is_documented_and_has_an_example() -> None:
    """The page is made from the commands; ``python -m authsvc.cli.reference docs/cli.md``."""
    text = (DOCS / "cli.md").read_text()
    assert text == reference.written(text)
    every = dict(reference.commands())
    assert "authsvc up" in every
    for name, command in every.items():
        part = text.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert part, name
        for parameter in command.params:
            for option in parameter.opts:
                assert parameter.param_type_name == "argument" or f"`{option}`" in part, (
                    name,
                    option,
                )
        assert "Example:" in (command.help or ""), name


def test_every_command_is_in_the_page_on_running() -> None:
    text = (DOCS / "running.md").read_text()
    for name, _ in reference.commands():
        assert name in text, name


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
