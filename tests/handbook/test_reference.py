"""The reference says all that there is, and what it says is so."""

from __future__ import annotations

import re

import pytest

from authsvc.server.settings import PREFIX, Settings
from handbook import advice, errors, settings
from handbook.reference import FOLDER, openapi, pages, write

MEND = "run `python -m handbook`, look at the difference and commit it"


async def test_every_page_is_what_the_code_says() -> None:
    for name, text in (await pages()).items():
        path = FOLDER / name
        assert path.exists(), f"docs/reference/{name} is missing: {MEND}"
        assert path.read_text("utf-8") == text, f"docs/reference/{name} is out of date: {MEND}"


def test_no_page_is_left_over() -> None:
    known = {"errors.md", "metrics.md", "routes.md", "settings.md", "subjects.md"}
    assert {path.name for path in FOLDER.iterdir()} == known


async def test_every_route_stands_there_with_what_it_needs() -> None:
    page = (FOLDER / "routes.md").read_text("utf-8")
    parts = {part.split("`")[1]: part for part in page.split("\n### ") if part.startswith("`")}
    seen = set()
    for path, methods in (await openapi())["paths"].items():
        for method, route in methods.items():
            part = parts[f"{method.upper()} {path}"]
            seen.add(f"{method.upper()} {path}")
            assert "Authorization: " in part
            if scope := route.get("x-scope"):
                assert f"with the scope `{scope}`" in part
            for parameter in route.get("parameters", []):
                assert f"`{parameter['name']}`" in part
            for status in route["responses"]:
                assert status in part
    assert seen == set(parts)


def test_every_setting_has_its_sentence_and_its_default() -> None:
    said = settings.meanings()
    rows = re.findall(r"^\| `(AUTHSVC_\w+)` \|.*\| (.+) \|$", settings.page(), re.MULTILINE)
    found = dict(rows)
    for name in Settings.model_fields:
        assert found[f"{PREFIX}{name.upper()}"] == said[name].replace("|", "\\|")
    assert "| whole number, 1 to 315360000 | `3600` |" in settings.page()


def test_what_lacks_a_word_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(advice.PROBLEMS, "key-taken")
    with pytest.raises(LookupError, match="lacks key-taken"):
        errors.page()
    monkeypatch.undo()
    monkeypatch.setitem(advice.EXCEPTIONS, "Gone", "")
    with pytest.raises(LookupError, match="has Gone"):
        errors.page()
    monkeypatch.undo()
    monkeypatch.setattr(settings, "meanings", dict)
    with pytest.raises(LookupError, match="data_dir lacks a sentence"):
        settings.page()


async def test_only_what_changed_is_written(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handbook.reference.FOLDER", tmp_path)
    assert write({"a.md": "1", "b.md": "2"}) == ["a.md", "b.md"]
    assert write({"a.md": "1", "b.md": "3"}) == ["b.md"]
