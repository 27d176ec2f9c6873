"""requirements-run.lock, what `make run` installs: a part of requirements.lock, and enough."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def locked(name: str) -> dict[tuple[str, str], set[str]]:
    """Hashes by package and version; some packages have one version for each Python."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    found: dict[tuple[str, str], set[str]] = {}
    for line in text.splitlines():
        pin = re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line)
        assert pin, line
        hashes = found.setdefault((pin[1], pin[2]), set())
        hashes.update(re.findall(r"--hash=(\S+)", line))
        assert hashes, line
    return found


def names(lock: str) -> set[str]:
    return {package for package, _ in locked(lock)}


def needed(package: str, extras: frozenset[str], found: set[str]) -> set[str]:
    """The names of all that a package needs here, with these extras."""
    for text in requires(package) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found:
            found.add(name)
            needed(name, frozenset(requirement.extras), found)
    return found


def test_the_same_files_are_pinned() -> None:
    whole = locked("requirements.lock")
    for pin, hashes in locked("requirements-run.lock").items():
        assert whole[pin] == hashes, pin


def test_the_service_has_all_it_needs() -> None:
    found = needed("authsvc", frozenset({"server"}), {"hatchling", "editables"})
    assert len(found) > 30
    assert found <= names("requirements-run.lock")


def test_what_only_tests_need_is_left_out() -> None:
    rest = {"playwright", "mkdocs-material", "mypy", "pytest"}
    assert not rest & names("requirements-run.lock")
    assert rest <= names("requirements.lock")
